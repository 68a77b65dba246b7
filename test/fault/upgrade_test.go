package fault

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// EnvOld is the git name of the older release for the upgrade test; empty: the newest tag.
const EnvOld = "LMQGATE_FAULT_OLD"

// TestAnUpgradeNodeByNodeAndBackLosesNothing replaces the gateways of a cluster, one after the other, by those of this release, and goes
// back in the same way, while some clients are at work and others sleep.
func TestAnUpgradeNodeByNodeAndBackLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, rep *report) {
		older := buildOlder(t)
		f := &fleet{t: t, rand: r, mq: rocketmq(t), etcd: etcdtest.Start(t, etcdtest.Options{}), programs: older}
		f.launch(2)
		senders, rovers := f.crowd(scale(2, 6), scale(3, 6), 300*time.Millisecond)
		var sleepers []*rover
		for i := range scale(10, 500) {
			s := f.newRover(fmt.Sprint("sleeper", i), f.first+"/sender0", 1, 0, f.nodes[i%2])
			s.freeze()
			_ = s.link.Close()
			sleepers = append(sleepers, s)
		}
		for _, programs := range []string{bin, older} {
			for _, n := range f.nodes {
				n.stop()
				n.programs = programs
				n.start()
				f.more(senders, 20)
			}
		}
		f.wake(rep, sleepers)
		f.settle(rep, senders, rovers, bounds{duplicates: 20})
		for _, s := range sleepers {
			f.eventually(func() error { return s.sinceAsleep(senders[0]) })
			s.finish()
		}
	})
}

// older is the directory of the older release's programs, once they are built.
var older string

// buildOlder builds the older release, or skips the test if there is none.
func buildOlder(t *testing.T) string {
	t.Helper()
	if older != "" {
		return older
	}
	root, err := cluster.Root()
	require.NoError(t, err)
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	name := os.Getenv(EnvOld)
	if name == "" {
		if name, err = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^"); err != nil {
			t.Skip("no release before this one has a tag: make fault OLD=COMMIT CASE=Upgrade names a commit")
		}
	}
	commit, err := git("rev-parse", "--short=12", name+"^{commit}")
	require.NoError(t, err, "%s=%s: %s", EnvOld, name, commit)
	source, into := t.TempDir(), filepath.Join(bin, "older")
	archive := filepath.Join(source, "source.tar")
	out, err := git("archive", "--format=tar", "-o", archive, commit)
	require.NoError(t, err, out)
	text, err := exec.Command("tar", "-x", "-C", source, "-f", archive).CombinedOutput()
	require.NoError(t, err, string(text))
	require.NoError(t, os.MkdirAll(filepath.Join(into, "plugins"), 0o755))
	for out, pkgs := range map[string][]string{into: {"./cmd/lmqgate"}, filepath.Join(into, "plugins"): {"./plugins/auth-hmac", "./plugins/meta-etcd"}} {
		cmd := exec.Command("go", append([]string{"build", "-o", out + "/"}, pkgs...)...)
		cmd.Dir = source
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, "building %s: %s", name, text)
	}
	require.NoError(t, filepath.Walk(into, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	}))
	t.Logf("the older release is %s, commit %s", name, commit)
	older = into
	return into
}
