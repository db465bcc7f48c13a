// Package testenv is whole clusters for tests: in one process, or each daemon a
// process that can be killed and paused. A test reads like prose and waits on
// facts:
//
//	c := testenv.New(t, testenv.Processes())
//	c.Set("k", "v")
//	c.Kill(c.PrimaryOf("k"))
//	c.Eventually("k is readable", func() bool { return c.Get("k") == "v" })
//
// Each cluster listens on a loopback address of its own. Everything ends with
// the test; a test that fails shows the cluster's state and the ends of its
// logs. Only external tests (package x_test) import testenv, and a package that
// uses Processes needs
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
//
// since daemons are the test's own binary, started again.
package testenv
