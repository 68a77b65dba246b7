package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// java is one Java process. Its goroutine (launch) waits for its end.
type java struct {
	args     []string
	home     string
	detached bool

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// moduleFlags open the JDK packages that RocketMQ accesses on Java 17.
var moduleFlags = []string{
	"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
}

// briefFlags are for processes that end soon: half of the processor time of their first minute goes to optimizing code that hardly runs.
var briefFlags = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}

func (j *java) start() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	out, err := os.OpenFile(filepath.Join(j.home, "out.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start java: %w", err)
	}
	defer out.Close()
	cmd := exec.Command("java", j.args...)
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+j.home)
	cmd.Dir, cmd.Stdout, cmd.Stderr = j.home, out, out
	cmd.SysProcAttr = attributes(j.detached)
	done, started := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(done)
		// The kernel's parent-death signal is tied to the thread that forked, so the thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start java (is a JDK 17 or later installed?): %w", err)
	}
	j.cmd, j.done = cmd, done
	return nil
}

func (j *java) pid() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cmd == nil {
		return 0
	}
	return j.cmd.Process.Pid
}

func (j *java) ended() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

// stop sends a signal and waits for the process to end; after ten seconds it kills it.
func (j *java) stop(sig syscall.Signal) {
	j.mu.Lock()
	cmd, done := j.cmd, j.done
	j.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-done
	}
}

// awaitPort waits until the process listens on addr. If the process ends before, the error has its output.
func (j *java) awaitPort(ctx context.Context, addr string) error {
	done := j.ended()
	for {
		if nc, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return nc.Close()
		}
		select {
		case <-done:
			out, _ := os.ReadFile(filepath.Join(j.home, "out.log"))
			return fmt.Errorf("java ended before it listened on %s:\n%s", addr, tail(out))
		case <-ctx.Done():
			return fmt.Errorf("java does not listen on %s: %w", addr, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// StopProcess ends a process of an earlier run by its id, and returns when the process is gone.
func StopProcess(ctx context.Context, pid int) error {
	// The process id may have been reused: stop only a Java process.
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil || string(name) != "java\n" {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for syscall.Kill(pid, 0) == nil {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop process %d: %w", pid, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
