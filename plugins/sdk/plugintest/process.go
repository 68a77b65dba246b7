package plugintest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// Limits that a gateway sets for a plugin, and so does the kit.
const (
	// defaultStart is the time until the handshake line: the default of plugins.start_timeout.
	defaultStart = time.Minute
	// exitLimit is the time from the end of standard input, or SIGTERM, to the end of the process.
	exitLimit = 3 * time.Second
	// maxHandshake bounds the handshake line.
	maxHandshake = 16 << 10
	// maxTail is how many of the last lines of a process are reported when it ends.
	maxTail = 20
)

// process is a plugin's process, started as a gateway starts it.
type process struct {
	cmd   *exec.Cmd
	stdin *os.File
	out   *tail
	// socketDir is the private directory that its socket may be in.
	socketDir string
	own       tls.Certificate
	patience  patience

	// line carries the first line that the process printed; it is closed at the end of standard output.
	line chan string
	// exited is closed when the process has ended and was waited for; err is then its result.
	exited chan struct{}
	err    error
}

// launch holds the options for starting a process.
type launch struct {
	path string
	// dir is a directory for its socket; its path is short enough for a socket path.
	dir string
	// versions are the offered contract versions.
	versions []int
	// inherit passes the environment of this process to the plugin, which a gateway never does.
	inherit bool
	// seen is called with every line that the process prints, except the handshake.
	seen func(line string)
	// patience is that of the run.
	patience patience
}

// environment returns the variables that a gateway sets for a plugin, besides those of the handshake.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TMPDIR=" + os.TempDir(),
	}
}

// start starts the process. An error concerns this machine or the file, not the behaviour of the process.
func (l launch) start() (*process, error) {
	own, clientCert, err := certificate()
	if err != nil {
		return nil, err
	}
	offered := make([]string, len(l.versions))
	for i, v := range l.versions {
		offered[i] = strconv.Itoa(v)
	}
	p := &process{
		socketDir: l.dir, own: own, patience: l.patience, out: &tail{seen: l.seen},
		line: make(chan string, 1), exited: make(chan struct{}),
	}
	p.cmd = &exec.Cmd{Path: l.path, Args: []string{l.path}, Dir: filepath.Dir(l.path)}
	// A process group of its own: the kit handles Ctrl-C, and can find processes that the plugin leaves behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if l.inherit {
		p.cmd.Env = os.Environ()
	} else {
		p.cmd.Env = environment()
	}
	p.cmd.Env = append(p.cmd.Env,
		handshake.CookieKey+"="+handshake.CookieValue,
		"PLUGIN_PROTOCOL_VERSIONS="+strings.Join(offered, ","),
		"PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000",
		"PLUGIN_UNIX_SOCKET_DIR="+l.dir,
		"PLUGIN_CLIENT_CERT="+clientCert,
	)
	var pipes [3][2]*os.File
	closeAll := func(end int) {
		for _, pair := range pipes {
			if pair[end] != nil {
				_ = pair[end].Close()
			}
		}
	}
	for i := range pipes { // index 0 is the plugin's end
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(0)
			closeAll(1)
			return nil, err
		}
		if pipes[i] = [2]*os.File{w, r}; i == 0 {
			pipes[i] = [2]*os.File{r, w}
		}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = pipes[0][0], pipes[1][0], pipes[2][0]
	err = p.cmd.Start()
	closeAll(0)
	if err != nil {
		closeAll(1)
		return nil, err
	}
	p.stdin = pipes[0][1]
	var readers sync.WaitGroup
	readers.Go(func() { p.readStdout(pipes[1][1]) })
	readers.Go(func() { p.out.read(bufio.NewReader(pipes[2][1])) })
	go func() {
		err := p.cmd.Wait()
		drained := make(chan struct{})
		go func() { readers.Wait(); close(drained) }()
		select {
		case <-drained:
		case <-time.After(p.patience.times(500 * time.Millisecond)): // a process that the plugin left behind holds the pipes open
		}
		_ = pipes[1][1].Close()
		_ = pipes[2][1].Close()
		<-drained
		p.err = err
		close(p.exited)
	}()
	return p, nil
}

func (p *process) readStdout(r io.Reader) {
	defer close(p.line)
	buffered := bufio.NewReaderSize(r, maxHandshake)
	line, err := buffered.ReadSlice('\n')
	if err == nil || errors.Is(err, io.EOF) && len(line) > 0 || errors.Is(err, bufio.ErrBufferFull) {
		p.line <- strings.TrimRight(string(line), "\r\n")
	}
	p.out.read(buffered)
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// how describes how the process ended.
func (p *process) how() string {
	text := "exit status 0"
	if p.err != nil {
		text = p.err.Error()
	}
	if last := p.out.last(); last != "" {
		text += "; its last line was: " + last
	}
	return text
}

// howEarly is how for a process that ended during its start, when its output may be the only explanation.
func (p *process) howEarly() string {
	lines := p.out.tail()
	if len(lines) < 2 {
		return p.how()
	}
	text := "exit status 0"
	if p.err != nil {
		text = p.err.Error()
	}
	return fmt.Sprintf("%s; its last %d lines were: %s", text, len(lines), strings.Join(lines, " | "))
}

// await waits for the end of the process.
func (p *process) await(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.exited:
		return true
	case <-timer.C:
		return false
	}
}

// kill kills the process and the processes that it started.
func (p *process) kill() {
	_ = p.stdin.Close()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
	_ = os.RemoveAll(p.socketDir)
}

// leftBehind reports whether processes of its group are still running after it has ended.
func (p *process) leftBehind() bool { return syscall.Kill(-p.cmd.Process.Pid, 0) == nil }

// shaken is a parsed handshake line.
type shaken struct {
	line    string
	version int
	network string
	address string
	tls     *tls.Config // nil if the plugin uses no TLS
}

// shake waits up to limit for the handshake line. The error is a sentence about the plugin.
func (p *process) shake(ctx context.Context, versions []int, limit time.Duration) (shaken, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var line string
	select {
	case text, ok := <-p.line:
		if !ok {
			if p.await(p.patience.times(exitLimit)) {
				return shaken{}, fmt.Errorf("it did not start: the process ended before it printed a handshake line: %s", p.howEarly())
			}
			return shaken{}, errors.New("it did not start: it closed its standard output without a handshake line")
		}
		line = text
	case <-timer.C:
		return shaken{}, fmt.Errorf("it did not start: no handshake line within %v; a gateway waits for plugins.start_timeout, this test for --start-timeout", limit)
	case <-ctx.Done():
		return shaken{}, ctx.Err()
	}
	s := shaken{line: line}
	fields := strings.Split(line, "|")
	if len(fields) < 5 || fields[0] != "1" {
		return s, fmt.Errorf(
			"it did not start: its first line is %s; it must be the handshake line 1|VERSION|unix or tcp|ADDRESS|grpc|CERTIFICATE, and nothing may come before it",
			quote(line),
		)
	}
	var err error
	if s.version, err = strconv.Atoi(fields[1]); err != nil || !slices.Contains(versions, s.version) {
		return s, fmt.Errorf("it speaks version %s of the contract; the gateway offered %s", fields[1], list(versions))
	}
	s.network, s.address = fields[2], fields[3]
	if fields[4] != "grpc" {
		return s, fmt.Errorf("it speaks %s; a plugin must speak grpc", quote(fields[4]))
	}
	if len(fields) > 5 && fields[5] != "" {
		if s.tls, err = trust(p.own, fields[5]); err != nil {
			return s, err
		}
	}
	switch s.network {
	case "unix":
		if s.tls == nil && filepath.Dir(filepath.Clean(s.address)) != filepath.Clean(p.socketDir) {
			return s, fmt.Errorf("it listens without TLS on %s, outside of the directory in PLUGIN_UNIX_SOCKET_DIR", quote(s.address))
		}
	case "tcp":
		host, _, err := net.SplitHostPort(s.address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return s, fmt.Errorf("it listens on %s; a plugin may listen on a unix socket or on a loopback address only", quote(s.address))
		}
	default:
		return s, fmt.Errorf("it listens on the network %s; unix and tcp are possible", quote(s.network))
	}
	return s, nil
}

func list(versions []int) string {
	text := make([]string, len(versions))
	for i, v := range versions {
		text[i] = strconv.Itoa(v)
	}
	return strings.Join(text, ", ")
}

// quote formats a text for a report: on one line and not too long.
func quote(s string) string {
	const most = 160
	if len(s) > most {
		return fmt.Sprintf("%q... (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
	}
	return strconv.Quote(s)
}

// tail keeps the last lines of a process's output.
type tail struct {
	seen func(string)

	mu   sync.Mutex
	text string
	// panicking is set at the first line of a Go panic; the following lines are its stack.
	panicking bool
	// lines are the newest lines; after a panic, the first lines from the panic on.
	lines []string
}

func (t *tail) read(r *bufio.Reader) {
	for {
		line, err := r.ReadSlice('\n')
		if text := strings.TrimSpace(string(line)); text != "" {
			t.add(text)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}

func (t *tail) add(line string) {
	if t.seen != nil {
		t.seen(line)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.panicking {
		t.text = quote(line)
	}
	if !t.panicking && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
		t.panicking, t.lines = true, nil
	}
	switch text := quote(line); {
	case len(t.lines) < maxTail:
		t.lines = append(t.lines, text)
	case !t.panicking:
		t.lines = append(t.lines[:copy(t.lines, t.lines[1:])], text)
	}
}

func (t *tail) tail() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text
}
