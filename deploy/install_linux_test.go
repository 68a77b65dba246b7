package deploy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What `make dist` wrote is tried as users do: the image's content and the .deb, each in a root directory of its own, which the processes
// cannot leave. `make test-dist` runs these tests; they want root.

// released returns the one file of the release that a pattern names.
func released(t *testing.T, pattern string) string {
	t.Helper()
	dir := os.Getenv("LMQGATE_DIST")
	if dir == "" {
		t.Skip("LMQGATE_DIST names no release; make test-dist makes one")
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	return found[0]
}

// newRoot makes an empty root directory with /dev/null and /tmp.
func newRoot(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can change the root directory of a process")
	}
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "dev"), 0o755))
	if err := syscall.Mknod(filepath.Join(root, "dev/null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Skipf("this system lets nobody make devices: %v", err)
	}
	require.NoError(t, os.Chmod(filepath.Join(root, "dev/null"), 0o666))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "tmp"), 0o777))
	require.NoError(t, os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky))
	return root
}

// place is an installed gateway.
type place struct {
	t       *testing.T
	root    string
	uid     uint32
	program string
	config  string
	plugins string // they are not found beside the program, because there is no /proc
	env     []string
}

func (p *place) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), p.program, args...)
	cmd.Dir, cmd.Env = "/", append([]string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", "LMQGATE_PLUGINS__DIR=" + p.plugins}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root, Credential: &syscall.Credential{Uid: p.uid, Gid: p.uid}, Pdeathsig: syscall.SIGKILL}
	return cmd
}

var readyLine = regexp.MustCompile(`^lmqgate ready node=\S+ tcp=127\.0\.0\.1:(\d+) `)

// serves starts the gateway, sends a message through it, and stops it.
func (p *place) serves() {
	p.t.Helper()
	cmd := p.command("serve", "--config", p.config, "--set", `listeners=[{type: tcp, address: "127.0.0.1:0"}]`, "--set", "admin.address=127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(p.t, err)
	runtime.LockOSThread() // the process ends with the thread that started it
	defer runtime.UnlockOSThread()
	require.NoError(p.t, cmd.Start())
	hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	m := readyLine.FindStringSubmatch(line)
	if m == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.t.Fatalf("not ready: %q\n%s", line, log.String())
	}
	said, err := p.command("pub", "--config", p.config, "--port", m[1], "-t", "T/x", "-m", "hello", "-q", "1", "-r").CombinedOutput()
	require.NoError(p.t, err, "%s", said)
	said, err = p.command("sub", "--config", p.config, "--port", m[1], "-t", "T/#", "-q", "1", "-n", "1").CombinedOutput()
	require.NoError(p.t, err, "%s", said)
	require.Equal(p.t, "hello", strings.TrimSpace(string(said)))
	require.NoError(p.t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, cmd.Wait(), "%s", log.String())
}

func TestTheImageServesInARootOfItsOwn(t *testing.T) {
	file := released(t, "lmqgate_*_oci.tar")
	root := newRoot(t)
	layer := layerOf(t, file)
	for {
		h, err := layer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		at := filepath.Join(root, filepath.FromSlash(h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			require.NoError(t, os.MkdirAll(at, 0o755))
		default:
			content, err := io.ReadAll(layer)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(at, content, 0o600))
		}
		require.NoError(t, os.Chmod(at, h.FileInfo().Mode()))
		require.NoError(t, os.Chown(at, h.Uid, h.Gid))
	}
	p := &place{t: t, root: root, uid: 65532, program: "/usr/bin/lmqgate", config: "/etc/lmqgate/lmqgate.yaml", plugins: "/usr/bin/plugins",
		env: []string{"LMQGATE_ADMIN__TOKEN=sixteen-bytes-or-more", `LMQGATE_AUTH__CONFIG__USERS=[{"username":"device","secret_key":"a-secret-of-ours"}]`}}
	p.serves()
	p.env = nil
	said, err := p.command("serve", "--config", p.config).CombinedOutput()
	require.Error(t, err, "it does not start with secrets that everybody knows")
	require.Contains(t, string(said), "admin.token")
}

// layerOf opens the layer for this machine in an image.
func layerOf(t *testing.T, file string) *tar.Reader {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	type node struct {
		Manifests, Layers []struct {
			Digest   string
			Platform struct{ Architecture string }
		}
	}
	read := func(content []byte) (n node) {
		require.NoError(t, json.Unmarshal(content, &n))
		return n
	}
	blob := func(digest string) []byte { return files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] }
	for _, m := range read(blob(read(files["index.json"]).Manifests[0].Digest)).Manifests {
		if m.Platform.Architecture == runtime.GOARCH {
			z, err := gzip.NewReader(bytes.NewReader(blob(read(blob(m.Digest)).Layers[0].Digest)))
			require.NoError(t, err)
			return tar.NewReader(z)
		}
	}
	t.Fatalf("the image has no %s", runtime.GOARCH)
	return nil
}

// copyTool puts a program of this machine, and the libraries that it wants, into a root directory.
func copyTool(t *testing.T, root, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("this system has no %s", name)
	}
	list := []string{path}
	out, _ := exec.CommandContext(t.Context(), "ldd", path).Output()
	for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		list = append(list, m[1])
	}
	for _, from := range list {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(from)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, from), content, 0o755))
	}
}

// TestTheDebianPackageIsInstalledServesAndIsPurged: dpkg runs the package's scripts inside the root directory that it is given.
func TestTheDebianPackageIsInstalledServesAndIsPurged(t *testing.T) {
	file := released(t, "lmqgate_*_linux_"+runtime.GOARCH+".deb")
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("this system has no dpkg")
	}
	root := newRoot(t)
	before, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	for _, dir := range []string{"bin", "etc", "usr/bin", "usr/sbin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, content := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:1::::::\n", "etc/gshadow": "root:*::\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\n", "var/lib/dpkg/status": "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	for _, tool := range []string{"sh", "getent", "useradd", "userdel", "chgrp", "install", "rm"} {
		copyTool(t, root, tool)
	}
	if _, err := os.Stat(filepath.Join(root, "bin/sh")); err != nil {
		require.NoError(t, os.Symlink("../usr/bin/sh", filepath.Join(root, "bin/sh")))
	}
	dpkg := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "dpkg", append([]string{"--root=" + root, "--log=" + root + "/var/log/dpkg.log"}, args...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	dpkg("--install", file)
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^lmqgate:x:(\d+):(\d+):`).FindStringSubmatch(string(passwd))
	require.NotNil(t, m, "%s", passwd)
	require.Equal(t, m[1], m[2], "the user has a group of its own")
	uid, err := strconv.ParseUint(m[1], 10, 32)
	require.NoError(t, err)
	conf, err := os.Stat(filepath.Join(root, "etc/lmqgate/lmqgate.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), conf.Mode().Perm())
	p := &place{t: t, root: root, uid: uint32(uid), program: "/usr/bin/lmqgate", config: "/etc/lmqgate/lmqgate.yaml",
		plugins: "/usr/lib/lmqgate/plugins"}
	p.serves()

	dpkg("--remove", "lmqgate")
	require.NoFileExists(t, filepath.Join(root, "usr/bin/lmqgate"))
	require.FileExists(t, filepath.Join(root, "etc/lmqgate/lmqgate.yaml"), "a removal keeps the configuration")
	require.DirExists(t, filepath.Join(root, "var/lib/lmqgate/store"), "and the data")
	dpkg("--purge", "lmqgate")
	for _, gone := range []string{"etc/lmqgate", "var/lib/lmqgate", "usr/lib/lmqgate", "usr/share/doc/lmqgate", "usr/lib/systemd/system/lmqgate.service"} {
		require.NoDirExists(t, filepath.Join(root, gone))
		require.NoFileExists(t, filepath.Join(root, gone))
	}
	passwd, err = os.ReadFile(filepath.Join(root, "etc/passwd"))
	require.NoError(t, err)
	require.NotContains(t, string(passwd), "lmqgate")
	after, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the machine itself is left alone")
}

func TestTheReleasesBillNamesWhatTheBinariesAreMadeOf(t *testing.T) {
	var bill struct {
		Components []struct{ Name, Version string }
	}
	require.NoError(t, json.Unmarshal([]byte(text(t, released(t, "*_sbom.cdx.json"))), &bill))
	names := map[string]bool{}
	for _, c := range bill.Components {
		names[c.Name] = true
	}
	for _, want := range []string{"stdlib", "github.com/hashicorp/go-plugin", "go.etcd.io/etcd/client/v3", "go.etcd.io/bbolt"} {
		require.True(t, names[want], want)
	}
	require.False(t, names["github.com/stretchr/testify"], "tests are in no binary")
}

func TestTheReleasesChecksumsHold(t *testing.T) {
	list := released(t, "SHA256SUMS")
	for line := range strings.Lines(text(t, list)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		content, err := os.ReadFile(filepath.Join(filepath.Dir(list), name))
		require.NoError(t, err)
		require.Equal(t, sum, fmt.Sprintf("%x", sha256.Sum256(content)), name)
	}
}
