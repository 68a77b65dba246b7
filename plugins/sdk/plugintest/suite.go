package plugintest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// suite is one test of one plugin. Cases run one after the other and share its main instance.
type suite struct {
	target  Target
	profile Profile
	// id identifies this run in namespaces and client ids, so that two runs on one backend do not collide.
	id string
	// work is a temporary directory; sockets another, with a short path.
	work, sockets string
	sites         int
	// startTimeout is how long a process may take until its handshake.
	startTimeout time.Duration
	patience     patience

	describe *pluginv1.DescribeResponse // nil until Describe succeeded
	// refused is why the profile's configuration was refused; unready is why the plugin could not be activated.
	shook, described, accepted, activated bool
	refused, unready                      string
	// late is the number of consecutive cases that failed because an answer did not arrive in time.
	late int
	// want is the expected kind; KIND_UNSPECIFIED for any.
	want pluginv1.Kind
	// main is the shared active instance; nil if there is none.
	main     *running
	mainSite *site

	// mu guards the fields below: what the plugin's texts are searched for.
	mu         sync.Mutex
	secrets    []string
	leaks      []string
	namespaces []string
}

func newSuite(target Target, profile Profile) (*suite, error) {
	if err := target.check(); err != nil {
		return nil, err
	}
	times, err := patienceOfEnvironment()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "lmqgate-plugintest-")
	if err != nil {
		return nil, noTemporary(err)
	}
	temp := os.TempDir()
	if len(temp) > 40 { // a socket's path has about 100 bytes
		temp = "/tmp"
	}
	sockets, err := os.MkdirTemp(temp, "lmqgate-pt-")
	if err != nil {
		return nil, errors.Join(noTemporary(err), os.RemoveAll(work))
	}
	s := &suite{target: target, profile: profile, id: strings.ToLower(rand.Text()[:8]), work: work, sockets: sockets,
		startTimeout: defaultStart, patience: times}
	if s.mainSite, err = s.newSite(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	for _, r := range profile.Allow {
		if r.Password != nil {
			s.secret(*r.Password)
		}
	}
	return s, nil
}

func noTemporary(err error) error {
	return fmt.Errorf("%w; set TMPDIR to a directory that can be written in", err)
}

// close ends the main instance and removes the files.
func (s *suite) close() error {
	if s.main != nil {
		s.tidy()
		s.main.end()
		s.main = nil
	}
	return errors.Join(os.RemoveAll(s.work), os.RemoveAll(s.sockets))
}

// newSite creates the directories of another node.
func (s *suite) newSite() (*site, error) {
	s.sites++
	at := &site{node: fmt.Sprintf("plugintest-%s-%d", s.id, s.sites)}
	at.data, at.tmp = filepath.Join(s.work, at.node, "data"), filepath.Join(s.work, at.node, "tmp")
	return at, errors.Join(os.MkdirAll(at.data, 0o700), os.MkdirAll(at.tmp, 0o700))
}

// configDir returns the directory for relative paths in the configuration.
func (s *suite) configDir(at *site) string {
	if s.profile.Dir != "" {
		return s.profile.Dir
	}
	return at.data
}

// config returns the profile's configuration for a site.
func (s *suite) config(at *site) (map[string]any, error) {
	return s.profile.block(places{dir: s.configDir(at), tmp: at.tmp})
}

// missing says why the plugin has not reached a stage; "" if it has.
func (s *suite) missing(needs stage) string {
	switch {
	case needs >= needsHandshake && !s.shook:
		return "the plugin does not start"
	case needs >= needsDescribe && !s.described:
		return "Describe was not answered"
	case needs >= needsConfig && !s.accepted:
		return s.refused
	case needs >= needsActive && !s.activated:
		return s.unready
	}
	return ""
}

// secret registers a text that must not appear in any of the plugin's texts. Short secrets are ignored, because they would match by chance.
func (s *suite) secret(text string) {
	const least = 6
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(text) >= least {
		s.secrets = append(s.secrets, text)
	}
}

// texts searches a human-readable text of the plugin for secrets.
func (s *suite) texts(where, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.secrets {
		if strings.Contains(text, secret) && len(s.leaks) < 10 {
			s.leaks = append(s.leaks, fmt.Sprintf("%s: %s", where, quote(strings.ReplaceAll(text, secret, "<SECRET>"))))
		}
	}
}

func (s *suite) printed(line string) { s.texts("a line of its output", line) }

// start starts a plugin instance, up to Describe; it ends with the case.
func (t *trial) start(at *site) *running {
	r, err := t.begin(t.ctx, at, handshake.Versions(), false)
	if err != nil {
		t.failAt("start of the process", "", "%v", err)
	}
	t.lives = append(t.lives, r)
	t.touched = r
	return r
}

// site creates another site.
func (t *trial) site() *site {
	at, err := t.newSite()
	if err != nil {
		t.skip("no directory could be made for it: %v", err)
	}
	return at
}

// describeOf calls Describe.
func (t *trial) describeOf(r *running) *pluginv1.DescribeResponse {
	t.touched = r
	d, err := r.control.Describe(t.ctx, &pluginv1.DescribeRequest{})
	t.must(err)
	return d
}

// configure calls Configure and returns the problems.
func (t *trial) configure(r *running, config map[string]any) []*pluginv1.ConfigProblem {
	t.touched = r
	problems, err := t.tryConfigure(r, config)
	t.must(err)
	return problems
}

// tryConfigure is configure with an error; it may be called in any goroutine.
func (t *trial) tryConfigure(r *running, config map[string]any) ([]*pluginv1.ConfigProblem, error) {
	block, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	resp, err := r.control.Configure(t.ctx, &pluginv1.ConfigureRequest{
		ConfigJson: block, NodeId: r.site.node, DataDir: r.site.data, ConfigDir: t.configDir(r.site),
	})
	if err != nil {
		return nil, err
	}
	r.configured = len(resp.GetProblems()) == 0
	return resp.GetProblems(), nil
}

// ready starts an instance and activates it.
func (t *trial) ready(at *site) *running {
	r := t.start(at)
	t.activate(r)
	return r
}

// activate configures an instance with the profile's configuration, activates it, and waits until it is healthy.
func (t *trial) activate(r *running) {
	if !r.configured {
		config, err := t.config(r.site)
		if err != nil {
			t.skip("%v", err)
		}
		if problems := t.configure(r, config); len(problems) > 0 {
			t.failf("it refuses the profile's configuration: %s", problemText(problems))
		}
	}
	t.touched = r
	_, err := r.control.Activate(t.ctx, &pluginv1.ActivateRequest{})
	t.must(err)
	r.active = true
	t.awaitWell(r)
}

// wellLimit is the time from Activate until Health reports ok.
const wellLimit = 15 * time.Second

// awaitWell waits until Health reports ok; a backend may need a moment.
func (t *trial) awaitWell(r *running) {
	limit := t.patience.times(wellLimit)
	ctx, cancel := context.WithTimeout(t.ctx, limit)
	defer cancel()
	for {
		h, err := r.control.Health(t.ctx, &pluginv1.HealthRequest{})
		t.must(err)
		if h.GetOk() {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.failf("Health says for %v that it cannot do its work: %s", limit, quote(h.GetReason()))
		}
	}
}

// plugin returns the shared instance of most cases, restarted if it has died.
func (t *trial) plugin() *running {
	if t.main != nil && t.main.dead() {
		t.main.kill()
		t.main = nil
	}
	if t.main == nil {
		r := t.ready(t.mainSite)
		t.lives = t.lives[:len(t.lives)-1] // it outlives the case
		t.main = r
	}
	t.touched = t.main
	return t.main
}

// restart ends the main instance, killing it if kill is set, and starts another on the same site.
func (t *trial) restart(kill bool) *running {
	if r := t.main; r != nil {
		t.main = nil
		if kill {
			r.kill()
		} else {
			r.end()
		}
	}
	return t.plugin()
}

func problemText(problems []*pluginv1.ConfigProblem) string {
	var parts []string
	for _, p := range problems {
		parts = append(parts, strings.TrimPrefix(p.GetKey()+": "+oneLine(p.GetMessage()), ": "))
	}
	return strings.Join(parts, "; ")
}
