package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Versions that the tests can start; the first is the default. `make test` runs those of ROCKETMQ_VERSIONS in the Makefile.
var Versions = []string{"5.4.0", "5.1.4", "5.5.0"}

var versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// artifacts are the Maven artifacts of RocketMQ; Maven adds their dependencies.
var artifacts = []string{"rocketmq-namesrv", "rocketmq-broker", "rocketmq-tools"}

// Root returns the project's root: the nearest parent of the working directory that has a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the project's root: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("find the project's root: no go.mod in %s or above", dir)
		}
	}
}

// Jars returns the directory with the jars of a version; it fetches missing ones with Maven. Several processes may call it at once; one
// fetches, the others wait.
func Jars(ctx context.Context, version string) (string, error) {
	if !versionForm.MatchString(version) {
		return "", fmt.Errorf("RocketMQ version %q is not of the form 5.4.0", version)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	base := filepath.Join(root, ".cache", "rocketmq", version)
	lib := filepath.Join(base, "lib")
	if _, err := os.Stat(lib); err == nil {
		return lib, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make the jar cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(base, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("lock the jar cache: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock the jar cache: %w", err)
	}
	if _, err := os.Stat(lib); err == nil {
		return lib, nil // another process fetched them meanwhile
	}
	part := filepath.Join(base, "part")
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("clear %s: %w", part, err)
	}
	pom := filepath.Join(base, "pom.xml")
	if err := os.WriteFile(pom, []byte(pomFor(version)), 0o644); err != nil {
		return "", fmt.Errorf("write the pom: %w", err)
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+part)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf(
			"fetch RocketMQ %s with mvn (is Maven installed, and a repository reachable?): %w\n%s",
			version,
			err,
			tail(out),
		)
	}
	if err := os.Rename(part, lib); err != nil {
		return "", fmt.Errorf("put the jars in place: %w", err)
	}
	return lib, nil
}

func pomFor(version string) string {
	var b strings.Builder
	b.WriteString(`<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>` +
		`<groupId>lmqgate.test</groupId><artifactId>rocketmq</artifactId><version>1</version><dependencies>`)
	for _, a := range artifacts {
		fmt.Fprintf(
			&b,
			"<dependency><groupId>org.apache.rocketmq</groupId><artifactId>%s</artifactId><version>%s</version></dependency>",
			a,
			version,
		)
	}
	b.WriteString("</dependencies></project>\n")
	return b.String()
}

// tail returns the last part of a program's output.
func tail(out []byte) []byte {
	const n = 4000
	if len(out) > n {
		return out[len(out)-n:]
	}
	return out
}
