package dashboard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/testenv"
)

// A manager's port shows the page, and ends its streams when the manager stops.
func TestPort(t *testing.T) {
	c := testenv.New(t, testenv.Servers(1), testenv.Replicas(1), testenv.Partitions(4))
	url := port(c, "manager1")
	answers(c, url)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	get := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Body.Close() })
		return r
	}
	page, err := io.ReadAll(get("").Body)
	if err != nil || !strings.Contains(string(page), "/dashboard.js") {
		t.Errorf("%v in %s", err, page)
	}
	for path, want := range map[string]string{"snapshot": `"health":"ok"`, "metrics": "kumofs_manager_leads 1", "statusz": `"health": "ok"`} {
		if body, err := io.ReadAll(get(path).Body); err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, want %s in %.2000s", path, err, want, body)
		}
	}
	r, err := http.Post(url+"events", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("something was taken: %s", r.Status)
	}
	stream := get("events")
	if _, err := io.ReadAtLeast(stream.Body, make([]byte, 1<<16), len("retry: 1000")); err != nil {
		t.Fatal(err)
	}
	c.Stop("manager1")
	if _, err := io.Copy(io.Discard, stream.Body); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the stream goes on after its manager has stopped")
	}
}
