package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
)

func TestCheck(t *testing.T) {
	healthy := subjects.ClusterStatus{Leader: "m", Partitions: subjects.PartitionCount{Total: 8, Full: 8}}
	with := func(change func(*subjects.ClusterStatus)) checked {
		st := healthy
		change(&st)
		return judge(&st)
	}
	for _, tt := range []struct {
		name string
		got  checked
		code int
		says string
	}{
		{"healthy", with(func(*subjects.ClusterStatus) {}), checkOK, "8 full"},
		{"copies missing", with(func(st *subjects.ClusterStatus) { st.Partitions.Full, st.Partitions.Degraded = 7, 1 }), checkWarning, "1 degraded"},
		{"an alarm", with(func(st *subjects.ClusterStatus) { st.Alarms = []string{"a|b is full"} }), checkWarning, "a/b is full"},
		{"no primary", with(func(st *subjects.ClusterStatus) { st.Partitions.Down = 1 }), checkCritical, "1 down"},
		{"no leader", with(func(st *subjects.ClusterStatus) { st.Leader = "" }), checkCritical, "no leader"},
		{"nothing placed", with(func(st *subjects.ClusterStatus) { st.Partitions = subjects.PartitionCount{} }), checkCritical, ""},
		{"no answer of a leader", unjudged(fmt.Errorf("status: %w", subjects.ErrNoLeader)), checkCritical, "no leader"},
		{"late", unjudged(fmt.Errorf("status:\n%w", subjects.ErrTimeout)), checkCritical, "status: timed out"},
		{"nobody", unjudged(subjects.ErrUnavailable), checkUnknown, "unavailable"},
	} {
		if tt.got.Code != tt.code || !strings.Contains(tt.got.Text, tt.says) || strings.ContainsAny(tt.got.Text, "|\n") {
			t.Errorf("%s: %+v", tt.name, tt.got)
		}
	}
}
