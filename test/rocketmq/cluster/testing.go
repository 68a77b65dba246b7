package cluster

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Environment variables of RocketMQ tests.
const (
	// EnvVersion enables RocketMQ tests; its value is the version, such as 5.4.0.
	EnvVersion = "LMQGATE_ROCKETMQ"
	// EnvRequire, set to 1, makes RocketMQ tests fail that would otherwise be skipped.
	EnvRequire = "LMQGATE_REQUIRE_ROCKETMQ"
	// EnvVersionRun, set to 1, selects a run for an additional version: only tests that can depend on the version run. All others run once,
	// with the recommended version. Set to brief, it also leaves out tests that need a cluster of their own.
	EnvVersionRun = "LMQGATE_VERSION_RUN"
)

// VersionRun reports whether this is a run for an additional version.
func VersionRun() bool { return os.Getenv(EnvVersionRun) == "1" || Brief() }

// Brief reports whether this is a brief run for an additional version.
func Brief() bool { return os.Getenv(EnvVersionRun) == "brief" }

// SetFlag sets a flag of go test, such as test.run, unless the command line does.
func SetFlag(name, value string) error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return nil
	}
	return flag.Set(name, value)
}

// Wanted returns the version of RocketMQ to test with. If no version is set, or java is missing, it skips the test, or fails it if
// EnvRequire is 1.
func Wanted(t testing.TB) string {
	t.Helper()
	skip := t.Skipf
	if os.Getenv(EnvRequire) == "1" {
		skip = t.Fatalf
	}
	version := os.Getenv(EnvVersion)
	if version == "" {
		skip("a RocketMQ test: set %s to a version (%s) to run it", EnvVersion, Versions[0])
	}
	if _, err := exec.LookPath("java"); err != nil {
		skip("a RocketMQ test: %v; install a JDK 17 or later", err)
	}
	return version
}

// StartDeadline bounds the start of a cluster, even on a busy machine that has to fetch RocketMQ first.
const StartDeadline = 10 * time.Minute

// ForTest starts a cluster of the wanted version for a test, and stops it when the test ends. It skips the test when Wanted does, and in a
// brief run.
func ForTest(t testing.TB, o Options) *Cluster {
	t.Helper()
	if Brief() {
		t.Skip("a test with a RocketMQ of its own, which a brief run leaves out")
	}
	if o.Version == "" {
		o.Version = Wanted(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), StartDeadline)
	defer cancel()
	c, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}
