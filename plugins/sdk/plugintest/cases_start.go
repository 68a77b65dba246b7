package plugintest

import (
	"context"
	"regexp"
	"slices"
	"strings"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

// groupStart is the group of the cases that all others build on; they always run.
const groupStart = "start"

func startCases() []check {
	return []check{
		{
			group: groupStart,
			name:  "prints its handshake line and nothing before it",
			needs: needsNothing,
			run:   (*trial).handshakeLine,
			rule: rule{
				text:    "A plugin starts with the few environment variables that a gateway gives it, and first of all prints one handshake line, within plugins.start_timeout (60 s where nothing else is configured), for gRPC and a version that was offered",
				proto:   "plugin.proto, Transport",
				section: "handshake",
			},
		},
		{
			group: groupStart,
			name:  "answers Describe before it is configured",
			needs: needsHandshake,
			run:   (*trial).describeFirst,
			rule: rule{
				text:  "Describe needs no configuration and says name, version, kind, configuration keys and the traits of the kind",
				proto: "plugin.proto, Plugin.Describe", section: "describe"},
		},
		{group: groupStart, name: "takes the profile's configuration", needs: needsDescribe, run: (*trial).takesConfig, rule: rule{
			text:  "Configure answers no problems for a configuration that is right",
			proto: "plugin.proto, Plugin.Configure", section: "configure"}},
		{
			group: groupStart,
			name:  "is ready after Activate, and well",
			needs: needsConfig,
			run:   func(t *trial) { t.plugin(); t.activated = true },
			rule: rule{
				text:  "Activate makes the plugin ready for calls, and Health says whether it can do its work",
				proto: "plugin.proto, Plugin.Activate and Plugin.Health", section: "activate"},
		},
		{
			group: groupStart,
			name:  "agrees with a gateway that also offers later versions",
			needs: needsDescribe,
			run:   (*trial).laterVersions,
			rule: rule{
				text:  "A plugin picks a version that it speaks from those in PLUGIN_PROTOCOL_VERSIONS; a later gateway offers more",
				proto: "plugin.proto, Transport", section: "compatibility"},
		},
		{group: groupStart, name: "serves gRPC's health service", needs: needsDescribe, run: (*trial).grpcHealth, rule: rule{
			text:  `A plugin also serves grpc.health.v1.Health for the service name "plugin"`,
			proto: "plugin.proto, Transport", section: "handshake"}},
	}
}

func (t *trial) process() {
	if t.target.inProcess() {
		t.skip("the implementation is served in the test's process; test the executable as well")
	}
}

func (t *trial) handshakeLine() {
	t.shook = true // this case reports what prevents the following ones
	t.process()
	t.shook = false
	at := t.site()
	r, err := t.begin(t.ctx, at, handshake.Versions(), false)
	if err == nil {
		t.lives, t.touched, t.shook = append(t.lives, r), r, true
		return
	}
	asked, came := "start of "+t.target.path, ""
	if r != nil && r.shaken.line != "" {
		came = "first line " + quote(r.shaken.line)
	}
	if free, freeErr := t.begin(t.ctx, at, handshake.Versions(), true); freeErr == nil {
		free.kill()
		t.failAt(
			asked,
			came,
			"%v; it does start with the environment of this shell, so it needs a variable that a gateway does not pass on (a gateway passes PATH, LANG and TMPDIR)",
			err,
		)
	}
	t.failAt(asked, came, "%v", err)
}

// pluginName matches valid names of files in plugins.dir.
var pluginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// keyTypes are the types of configuration keys.
var keyTypes = []string{"string", "int", "float", "bool", "duration", "list", "map"}

func (t *trial) describeFirst() {
	r := t.start(t.site())
	d := t.describeOf(r)
	if !pluginName.MatchString(d.GetName()) {
		t.failf("the name is %s; it must be the name of an executable in plugins.dir", quote(d.GetName()))
	}
	if d.GetVersion() == "" {
		t.failf("the version is empty")
	}
	switch k := d.GetKind(); {
	case k != pluginv1.Kind_KIND_AUTH && k != pluginv1.Kind_KIND_META:
		t.failf("the kind is %v; it must be KIND_AUTH or KIND_META", k)
	case k == pluginv1.Kind_KIND_AUTH && d.GetAuth() == nil:
		t.failf("it is an auth plugin and has no traits in auth")
	case k == pluginv1.Kind_KIND_META && d.GetMeta() == nil:
		t.failf("it is a meta plugin and has no traits in meta")
	case t.want != pluginv1.Kind_KIND_UNSPECIFIED && k != t.want:
		t.failf("it is a plugin of kind %s; this test is for kind %s", kindName(k), kindName(t.want))
	}
	seen := make(map[string]bool)
	for _, key := range d.GetConfigKeys() {
		switch {
		case key.GetPath() == "" || seen[key.GetPath()]:
			t.failf("the configuration key %s is empty or there twice", quote(key.GetPath()))
		case !slices.Contains(keyTypes, key.GetType()):
			t.failf(
				"the type of configuration key %s is %s; it must be one of %s",
				quote(key.GetPath()),
				quote(key.GetType()),
				strings.Join(keyTypes, ", "),
			)
		}
		seen[key.GetPath()] = true
	}
	methods := d.GetAuth().GetMethods()
	for i, m := range methods {
		if m == "" || slices.Contains(methods[:i], m) {
			t.failf("the authentication method %s is empty or there twice", quote(m))
		}
	}
	if again := t.describeOf(r); again.String() != d.String() {
		t.failf("Describe says something else when it is asked again: it says what the plugin is, not how it is")
	}
	t.suite.describe, t.described = d, true
	config, err := t.config(r.site)
	if err != nil {
		t.skip("%v", err)
	}
	for _, key := range d.GetConfigKeys() {
		if !key.GetSecret() {
			continue
		}
		for _, at := range locate(config, key.GetPath()) {
			if text, ok := at.get(config).(string); ok {
				t.secret(text)
			}
		}
	}
}

func (t *trial) takesConfig() {
	at := t.site()
	config, err := t.config(at)
	if err != nil {
		t.skip("%v", err)
	}
	t.refused = "the plugin does not take the profile's configuration"
	if problems := t.configure(t.start(at), config); len(problems) > 0 {
		if t.profile.Dir == "" {
			t.failf("it refuses an empty configuration: %s; write a profile and name it with --profile", problemText(problems))
		}
		t.failf("it refuses the profile's configuration: %s", problemText(problems))
	}
	t.accepted, t.unready = true, "the plugin did not get ready"
}

func (t *trial) laterVersions() {
	t.process()
	versions := append([]int{slices.Max(handshake.Versions()) + 1}, handshake.Versions()...)
	r, err := t.begin(t.ctx, t.site(), versions, false)
	asked := "start with PLUGIN_PROTOCOL_VERSIONS=" + strings.ReplaceAll(list(versions), " ", "")
	if err != nil {
		t.failAt(asked, "", "%v", err)
	}
	t.lives, t.touched = append(t.lives, r), r
	if !slices.Contains(handshake.Versions(), r.shaken.version) {
		t.failAt(asked, "version in the handshake line: "+list([]int{r.shaken.version}),
			"it says that it speaks a version of the contract that does not exist yet")
	}
	t.describeOf(r)
}

func (t *trial) grpcHealth() {
	t.process()
	r := t.start(t.site())
	ctx, cancel := context.WithTimeout(t.ctx, t.patience.times(healthLimit))
	defer cancel()
	resp, err := r.health.Check(ctx, &healthv1.HealthCheckRequest{Service: handshake.HealthService})
	if err != nil {
		t.failf("grpc.health.v1.Health/Check does not answer for the service %q: %s", handshake.HealthService, errText(err))
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.failf("grpc.health.v1.Health/Check answers %v for the service %q", resp.GetStatus(), handshake.HealthService)
	}
}
