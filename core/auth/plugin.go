package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// askAgain is how long after a failed request expired decisions are used without asking the plugin, so that a hanging plugin does not
	// delay each publish.
	askAgain = time.Second
	// batchActions bounds the actions in one request.
	batchActions = 256
	// maxTTL bounds the time to live of a decision.
	maxTTL = 24 * time.Hour
	// maxAttributes bounds the size of the identity and attributes of a connection, in bytes.
	maxAttributes = 64 << 10
)

// ErrUnavailable is wrapped by the errors of Authorize when the plugin could not decide.
var ErrUnavailable = errors.New("the auth plugin cannot decide now")

// Options configure New.
type Options struct {
	// Client calls the plugin, with a deadline on each call.
	Client Client
	// PluginName returns the name of the current plugin, which is recorded in Principals. A swap changes it together with Traits and the
	// target of Client; Swapped is called afterwards.
	PluginName func() string
	// Traits returns the traits in the plugin's Describe; nil means that it has no revocations, and denies clients of other plugins.
	Traits func() *pluginv1.AuthTraits
	// StaleAllowance overrides the constant of the same name; 0 keeps the default, a negative value means none.
	StaleAllowance time.Duration
	// Log receives denials and outages; nil discards them.
	Log *slog.Logger
	// Registerer registers the metrics; nil leaves them unregistered.
	Registerer prometheus.Registerer
}

// Auth is an Authority over an auth plugin.
type Auth struct {
	opts    Options
	metrics *metrics
	start   time.Time
	epochs  epochs
	// downUntil is a time of the monotonic clock: until then expired decisions are used without asking the plugin.
	downUntil atomic.Int64
	// logins queues the logins that wait for the plugin.
	logins *turnstile
	// together asks the plugin about logins.
	together together
	// swapped wakes Run after a swap.
	swapped chan struct{}

	// revokeMu guards onRevoke and onDoubt.
	revokeMu sync.RWMutex
	onRevoke []func(Revocation)
	onDoubt  []func(Revocation)
}

var _ Authority = (*Auth)(nil)

// New returns an Authority over a plugin. It starts nothing; see Run.
func New(opts Options) *Auth {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.PluginName == nil {
		opts.PluginName = func() string { return "" }
	}
	if opts.Traits == nil {
		opts.Traits = func() *pluginv1.AuthTraits { return nil }
	}
	switch {
	case opts.StaleAllowance == 0:
		opts.StaleAllowance = StaleAllowance
	case opts.StaleAllowance < 0:
		opts.StaleAllowance = 0
	}
	a := &Auth{opts: opts, start: time.Now(), logins: newTurnstile(), swapped: make(chan struct{}, 1)}
	a.together.client, a.together.traits = opts.Client, opts.Traits
	a.metrics = newMetrics(opts.Registerer, a.logins)
	return a
}

// now returns the monotonic clock in nanoseconds.
func (a *Auth) now() int64 { return int64(time.Since(a.start)) }

// Authenticate implements Authority.
func (a *Auth) Authenticate(ctx context.Context, req Request) (*Principal, error) {
	in := &pluginv1.AuthenticateRequest{
		Connection: connectionOf(req), HasPassword: req.HasPassword, Password: req.Password,
	}
	leave, err := a.logins.pass(ctx, req)
	if err != nil {
		return nil, a.unavailable(req, a.opts.PluginName(), err)
	}
	moment := a.epochs.now()
	name, resp, err := a.authenticate(ctx, in)
	leave()
	if err != nil {
		return nil, a.unavailable(req, name, err)
	}
	return a.conclude(req, resp, name, moment)
}

// unavailable refuses a client because the plugin gave no answer.
func (a *Auth) unavailable(req Request, plugin string, err error) *Denied {
	a.metrics.refuse(Unavailable)
	a.opts.Log.Warn("client refused", "client", req.ClientID, "user", Shown(req.Username),
		"remote", req.RemoteAddr, "reason", Unavailable.String(), "plugin", plugin, "error", err)
	return &Denied{Reason: Unavailable, Detail: "the auth plugin did not answer"}
}

// conclude converts a plugin's answer to a principal or a denial. The plugin was asked after moment, a time of epochs.
func (a *Auth) conclude(req Request, resp *pluginv1.AuthenticateResponse, name string, moment uint64) (*Principal, error) {
	if err := tooMuch(resp); err != nil {
		return nil, a.unavailable(req, name, err)
	}
	if reason := reasonOf(resp.GetReason()); reason != OK {
		a.metrics.refuse(reason)
		denied := &Denied{Reason: reason, Detail: resp.GetDetail()}
		a.opts.Log.Warn("client refused", "client", req.ClientID, "user", Shown(req.Username),
			"remote", req.RemoteAddr, "reason", reason.String(), "detail", resp.GetDetail())
		return nil, denied
	}
	p := newPrincipal(req, resp, name)
	if !p.expiresAt.IsZero() && !time.Now().Before(p.expiresAt) {
		a.metrics.refuse(NotAuthorized)
		a.opts.Log.Warn("client refused", "client", req.ClientID, "user", Shown(req.Username),
			"remote", req.RemoteAddr, "reason", NotAuthorized.String(), "detail", "the admission has expired already")
		return nil, &Denied{Reason: NotAuthorized, Detail: "the admission has expired already"}
	}
	a.keepRights(p, resp.GetRights(), moment)
	a.metrics.admitted.Inc()
	return p, nil
}

// authenticate asks the plugin, and returns the plugin's name. If another plugin took over during the call, authenticate asks again:
// otherwise the client could be recorded as admitted by the wrong plugin.
func (a *Auth) authenticate(ctx context.Context, in *pluginv1.AuthenticateRequest) (string, *pluginv1.AuthenticateResponse, error) {
	for {
		name := a.opts.PluginName()
		resp, err := a.together.authenticate(ctx, in)
		if name == a.opts.PluginName() || ctx.Err() != nil {
			return name, resp, err
		}
	}
}

// tooMuch refuses an answer over maxAttributes, because it would be kept as long as the connection.
func tooMuch(resp *pluginv1.AuthenticateResponse) error {
	size := len(resp.GetIdentity())
	for k, v := range resp.GetAttributes() {
		size += len(k) + len(v)
	}
	if size > maxAttributes {
		return fmt.Errorf("it answered %d bytes of identity and attributes, more than %d", size, maxAttributes)
	}
	return nil
}

// foreign reports whether the current plugin denies p everything because another plugin admitted it.
func (a *Auth) foreign(p *Principal) bool {
	// The order matters: if a plugin takes over between the two reads, it is at worst asked needlessly, and Swapped drops the answer.
	judges := a.opts.Traits().GetForeignClients() == pluginv1.ForeignClients_FOREIGN_CLIENTS_JUDGE
	return !judges && p.AdmittedBy() != a.opts.PluginName()
}

// Authorize implements Authority. An answer from the cache costs no allocation.
func (a *Auth) Authorize(ctx context.Context, p *Principal, action Action) (bool, error) {
	if p.expired() {
		return false, nil
	}
	epoch, now := a.epochs.of(p), a.now()
	d, found := p.cache.get(action, epoch)
	if found && a.usable(d, now) {
		a.metrics.hits.Inc()
		return d.allow, nil
	}
	return a.askOne(ctx, p, action, epoch)
}

// askOne is separate from Authorize so that the cached path does not allocate the slices.
func (a *Auth) askOne(ctx context.Context, p *Principal, action Action, epoch uint64) (bool, error) {
	allowed := make([]bool, 1)
	_, err := a.ask(ctx, p, []Action{action}, []int{0}, allowed, epoch)
	return err == nil && allowed[0], err
}

// AuthorizeAll implements Authority.
func (a *Auth) AuthorizeAll(ctx context.Context, p *Principal, actions []Action) ([]bool, time.Time, error) {
	allowed := make([]bool, len(actions))
	if p.expired() {
		return allowed, time.Time{}, nil
	}
	epoch, now := a.epochs.of(p), a.now()
	good := now + int64(maxTTL)
	var open []int
	for i, action := range actions {
		if d, found := p.cache.get(action, epoch); found && a.usable(d, now) {
			a.metrics.hits.Inc()
			allowed[i] = d.allow
			good = min(good, d.expires)
		} else {
			open = append(open, i)
		}
	}
	for len(open) > 0 {
		n := min(len(open), batchActions)
		until, err := a.ask(ctx, p, actions, open[:n], allowed, epoch)
		if err != nil {
			return make([]bool, len(actions)), time.Time{}, err
		}
		good = min(good, until)
		open = open[n:]
	}
	return allowed, a.start.Add(time.Duration(good)), nil
}

// usable reports whether a cached decision can be used without asking the plugin.
func (a *Auth) usable(d cached, now int64) bool {
	if now < d.expires {
		return true
	}
	return now < a.downUntil.Load() && a.stale(d, now)
}

// stale reports whether an expired decision may still be used because the plugin is away.
func (a *Auth) stale(d cached, now int64) bool {
	return now < d.expires+int64(a.opts.StaleAllowance)
}

func (p *Principal) expired() bool { return !p.expiresAt.IsZero() && !time.Now().Before(p.expiresAt) }

// ask asks the plugin about actions[which...] and fills in allowed. It returns until when all answers are valid.
func (a *Auth) ask(ctx context.Context, p *Principal, actions []Action, which []int, allowed []bool, epoch uint64) (int64, error) {
	a.metrics.misses.Add(float64(len(which)))
	req := &pluginv1.AuthorizeRequest{Client: p.client, Actions: make([]*pluginv1.Action, len(which))}
	for n, i := range which {
		req.Actions[n] = actionOf(actions[i])
	}
	var resp *pluginv1.AuthorizeResponse
	var err error
	foreign := a.foreign(p)
	if !foreign {
		resp, err = a.opts.Client.Authorize(ctx, req)
		foreign = a.foreign(p) // check again: if a swap came before the answer, the answer does not count
	}
	if foreign {
		for _, i := range which {
			allowed[i] = false
			a.denied(p, actions[i],
				"the client was admitted by "+p.AdmittedBy()+", and "+a.opts.PluginName()+" denies what others admitted")
		}
		return a.now() + int64(maxTTL), nil
	}
	if err == nil && len(resp.GetDecisions()) != len(which) {
		err = fmt.Errorf("it answered %d decisions to %d actions", len(resp.GetDecisions()), len(which))
	}
	now := a.now()
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return now + int64(askAgain), a.unanswered(p, actions, which, allowed, epoch, now, err)
	}
	p.cache.answered(now)
	until := now + int64(maxTTL)
	for n, i := range which {
		d := resp.GetDecisions()[n]
		allowed[i] = d.GetAllow()
		if ms := d.GetCacheMs(); ms > 0 {
			keep := cached{allow: d.GetAllow(), expires: now + jittered(ms)}
			p.cache.put(actions[i], d.GetDependsOnQosRetain(), keep, epoch, now)
			until = min(until, keep.expires)
		} else {
			until = now
		}
		if !d.GetAllow() {
			a.denied(p, actions[i], d.GetDetail())
		}
	}
	return until, nil
}

// unanswered falls back to expired decisions, for all actions or none.
func (a *Auth) unanswered(p *Principal, actions []Action, which []int, allowed []bool, epoch uint64, now int64, cause error) error {
	before := a.downUntil.Swap(now + int64(askAgain))
	if before < now { // at most once per second of an outage, not for each packet
		a.opts.Log.Warn("auth plugin did not answer; expired decisions are used for a while", "plugin", a.opts.PluginName(),
			"client", p.ClientID(), "error", cause)
	}
	for _, i := range which {
		d, found := p.cache.get(actions[i], epoch)
		if !found || !a.stale(d, now) {
			a.metrics.undecided.Inc()
			return fmt.Errorf("%s of %q by client %q: %w: %w", actions[i].Kind, actions[i].Topic, p.ClientID(), ErrUnavailable, cause)
		}
		allowed[i] = d.allow
		a.metrics.stale.Inc()
	}
	return nil
}

func (a *Auth) denied(p *Principal, action Action, detail string) {
	a.metrics.denied.WithLabelValues(action.Kind.String()).Inc()
	a.opts.Log.Warn("action denied", "client", p.ClientID(), "user", Shown(p.Username()),
		"action", action.Kind.String(), "topic", action.Topic, "detail", detail)
}

// Drop drops every cached decision.
func (a *Auth) Drop() {
	a.epochs.revoke(Revocation{})
	a.doubt(Revocation{})
}

// doubt calls the functions of OnDoubt.
func (a *Auth) doubt(r Revocation) {
	a.revokeMu.RLock()
	defer a.revokeMu.RUnlock()
	for _, fn := range a.onDoubt {
		fn(r)
	}
}

// Swapped announces that another plugin, or another process of the plugin, has taken over: it drops all cached and pending decisions, and
// makes Run follow the revocations of the new process. It does not block.
func (a *Auth) Swapped() {
	a.Drop()
	select {
	case a.swapped <- struct{}{}:
	default:
	}
}

// jittered shortens a time to live by up to a tenth, so that the decisions of clients that connected together do not
// expire together. The result is in nanoseconds, at most a day, which also keeps the sum from overflowing.
func jittered(ms int64) int64 {
	ttl := int64(maxTTL)
	if ms < ttl/int64(time.Millisecond) {
		ttl = ms * int64(time.Millisecond)
	}
	return ttl - rand.Int64N(ttl/10+1)
}

func actionOf(a Action) *pluginv1.Action {
	kind := pluginv1.ActionKind_ACTION_KIND_UNSPECIFIED
	switch a.Kind {
	case Publish:
		kind = pluginv1.ActionKind_ACTION_KIND_PUBLISH
	case Subscribe:
		kind = pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE
	}
	return &pluginv1.Action{Kind: kind, Topic: a.Topic, Qos: uint32(a.QoS), Retain: a.Retain, ShareGroup: a.ShareGroup}
}

// reasonOf translates the plugin's reason; an unknown reason of a newer contract becomes a plain refusal.
func reasonOf(r pluginv1.Reason) Reason {
	switch r {
	case pluginv1.Reason_REASON_OK:
		return OK
	case pluginv1.Reason_REASON_BAD_CREDENTIALS:
		return BadCredentials
	case pluginv1.Reason_REASON_BAD_CLIENT_ID:
		return BadClientID
	case pluginv1.Reason_REASON_BANNED:
		return Banned
	case pluginv1.Reason_REASON_UNAVAILABLE:
		return Unavailable
	}
	return NotAuthorized
}
