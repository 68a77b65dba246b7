package pluginhost

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

const (
	// maxHandshake bounds the handshake line; a certificate takes about 1 KiB.
	maxHandshake = 16 << 10
	// drainTimeout is how long to wait for the last log lines after a plugin's end; a child that it left behind may hold the pipes open
	// forever.
	drainTimeout = 500 * time.Millisecond
)

// process is a plugin's process as go-plugin starts it. Unlike go-plugin's own, its standard input is a pipe whose other end the gateway
// holds, its output is read robustly, and its exit is detected even while a child of the plugin holds the pipes.
type process struct {
	cmd     *exec.Cmd
	spawner *spawner
	logs    *lineLog

	// keep is the write end of standard input; closing it tells the plugin to exit.
	keep *os.File
	// line carries the handshake line to go-plugin, and ends with the process.
	line      *io.PipeReader
	lineWrite *io.PipeWriter

	// begun is closed when Start has returned.
	begun chan struct{}
	// exited is closed when the process has ended and was waited for; exit is then its result.
	exited chan struct{}
	exit   error

	mu        sync.Mutex
	handshake string
}

var _ runner.Runner = (*process)(nil)

func newProcess(cmd *exec.Cmd, s *spawner, logs *lineLog) *process {
	p := &process{cmd: cmd, spawner: s, logs: logs, begun: make(chan struct{}), exited: make(chan struct{})}
	p.line, p.lineWrite = io.Pipe()
	return p
}

// Start implements runner.Runner. The goroutines it starts end with the process.
func (p *process) Start(context.Context) error {
	defer close(p.begun)
	var pipes [3][2]*os.File
	closeAll := func(end int) {
		for i := range pipes {
			if pipes[i][end] != nil {
				_ = pipes[i][end].Close()
			}
		}
	}
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(0)
			closeAll(1)
			return err
		}
		pipes[i] = [2]*os.File{r, w}
		if i > 0 {
			pipes[i] = [2]*os.File{w, r} // index 0 is the plugin's end
		}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0][0], pipes[1][0], pipes[2][0]
	p.cmd.SysProcAttr = processAttributes()
	err := p.spawner.start(p.cmd)
	closeAll(0)
	if err != nil {
		closeAll(1)
		_ = p.lineWrite.Close()
		return err
	}
	p.keep = pipes[0][1]

	var readers sync.WaitGroup
	readers.Go(func() { p.readStdout(pipes[1][1]) })
	readers.Go(func() { p.logs.read(pipes[2][1]) })
	go p.wait(&readers, pipes[1][1], pipes[2][1])
	return nil
}

func (p *process) wait(readers *sync.WaitGroup, outputs ...*os.File) {
	endGroupOf(p.pid())
	err := p.cmd.Wait()
	drained := make(chan struct{})
	go func() { readers.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
	}
	for _, f := range outputs {
		_ = f.Close()
	}
	_ = p.lineWrite.Close()
	<-drained
	_ = p.keep.Close()
	p.exit = err
	close(p.exited)
}

// readStdout passes the handshake line on and logs whatever a plugin prints after it, so that the pipe never fills.
func (p *process) readStdout(r io.Reader) {
	buffered := bufio.NewReaderSize(r, maxHandshake)
	line, err := buffered.ReadSlice('\n')
	// A line that is too long is not a handshake; it is reported at once, too.
	if text := strings.TrimSpace(string(line)); text != "" && (err == nil || errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull)) {
		p.mu.Lock()
		p.handshake = text
		p.mu.Unlock()
		_, _ = p.lineWrite.Write([]byte(text + "\n"))
	}
	p.logs.read(buffered)
}

// shaken returns the handshake line, or "" while there is none.
func (p *process) shaken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handshake
}

// letGo ends the plugin's standard input, which asks it to exit.
func (p *process) letGo() { _ = p.keep.Close() }

// Kill implements runner.Runner. It kills through the process handle, not by process id, so it cannot hit another process.
func (p *process) Kill(context.Context) error {
	if p.cmd.Process == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Wait implements runner.Runner.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.exit
}

// Stdout implements runner.Runner; it carries the handshake line only.
func (p *process) Stdout() io.ReadCloser { return p.line }

// Stderr implements runner.Runner; the lines are read by lineLog.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *process) Name() string { return p.cmd.Path }

// ID implements runner.Runner.
func (p *process) ID() string { return strconv.Itoa(p.pid()) }

func (p *process) pid() int {
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Diagnose implements runner.Runner; launch builds its own error messages.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner: both share one network.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// spawner starts processes from one thread that lives as long as the host. The kernel's parent-death signal is sent when
// the thread that started the child ends, and Go may end any other thread.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for fn := range s.work {
			fn()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

// close ends the thread. Every process must have ended before.
func (s *spawner) close() { close(s.work) }
