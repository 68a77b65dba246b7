package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// takingAll makes traits say that the plugin takes several logins at a time.
func takingAll(o *Options) {
	o.Traits = func() *pluginv1.AuthTraits { return &pluginv1.AuthTraits{AuthenticateAll: true} }
}

// judged answers a login with an identity that names its client, and denies a client id that ends with an odd digit.
func judged(req *pluginv1.AuthenticateRequest) *pluginv1.AuthenticateResponse {
	id := req.GetConnection().GetClientId()
	if id[len(id)-1]%2 == 1 {
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_BANNED}
	}
	return &pluginv1.AuthenticateResponse{Identity: "identity of " + id}
}

// crowd lets logins wait behind as many as have a call of their own, and then goes on, or first gives up those that wait. It returns the
// outcome of each by client id.
func crowd(t *testing.T, a *Auth, s *scripted, waiting int, givenUp bool) map[string]error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var logins sync.WaitGroup
	out := make(map[string]error)
	login := func(ctx context.Context, id string) {
		logins.Go(func() {
			p, err := a.Authenticate(ctx, Request{ClientID: id, RemoteAddr: "127.0.0.1:4711"})
			if err == nil && p.Identity() != "identity of "+id {
				err = fmt.Errorf("it is %q", p.Identity())
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = err
		})
	}
	s.held, s.begun = make(chan struct{}), make(chan struct{}, loginCalls+waiting)
	for i := range loginCalls {
		login(t.Context(), fmt.Sprintf("first-%d0", i))
	}
	for range loginCalls {
		<-s.begun
	}
	for i := range waiting {
		login(ctx, fmt.Sprintf("client-%d", i))
	}
	synctest.Wait()
	if givenUp {
		cancel()
		synctest.Wait()
	}
	close(s.held)
	logins.Wait()
	return out
}

func TestLoginsThatComeAtOnceShareCallsAndEachHasItsOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		s := &scripted{authenticate: judged}
		s.all = func(req *pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
			mu.Lock()
			sizes = append(sizes, len(req.GetRequests()))
			mu.Unlock()
			resp := &pluginv1.AuthenticateAllResponse{}
			for _, one := range req.GetRequests() {
				resp.Responses = append(resp.Responses, judged(one))
			}
			return resp, nil
		}
		a, _ := newAuth(s, takingAll)
		a.logins.limit = loginsMost
		for id, err := range crowd(t, a, s, 80, false) {
			if (id[len(id)-1]-'0')%2 == 1 {
				require.ErrorAs(t, err, new(*Denied), id)
			} else {
				require.NoError(t, err, id)
			}
		}
		synctest.Wait() // until the last call has given up its turn
		total := 0
		for _, n := range sizes {
			total += n
			require.LessOrEqual(t, n, loginsShared)
		}
		require.Equal(t, 80, total)
		require.Len(t, sizes, 3)
		require.Zero(t, a.together.calls)

		s.held = nil
		_, err := a.Authenticate(t.Context(), Request{ClientID: "alone-0"})
		require.NoError(t, err)
		require.Len(t, sizes, 3, "a lone login has a call of its own")
	})
}

func TestWhatFailsForASharedCallFailsForItsLogins(t *testing.T) {
	for what, all := range map[string]func(*pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error){
		"an error": func(*pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
			return nil, errors.New("it is broken")
		},
		"too few answers": func(req *pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
			return &pluginv1.AuthenticateAllResponse{Responses: make([]*pluginv1.AuthenticateResponse, len(req.GetRequests())-1)}, nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{authenticate: judged, all: all}
				a, _ := newAuth(s, takingAll)
				out := crowd(t, a, s, 6, false)
				require.NoError(t, out["first-00"])
				for i := range 6 {
					var denied *Denied
					require.ErrorAs(t, out[fmt.Sprintf("client-%d", i)], &denied)
					require.Equal(t, Unavailable, denied.Reason)
				}
			})
		})
	}
}

func TestAPluginThatTakesNotSeveralLoginsAnyMoreIsAskedAboutEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{authenticate: judged}
		a, _ := newAuth(s, takingAll)
		out := crowd(t, a, s, 6, false)
		require.Len(t, out, loginCalls+6)
		require.NoError(t, out["client-0"])
		require.ErrorAs(t, out["client-1"], new(*Denied))
	})
}

func TestALoginThatIsGivenUpIsNotAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{authenticate: judged}
		s.all = func(*pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
			panic("it was asked")
		}
		a, _ := newAuth(s, takingAll)
		out := crowd(t, a, s, 3, true)
		require.NoError(t, out["first-00"])
		require.Error(t, out["client-0"])
	})
}

func TestOnlyLoginsThatMayShareACallDo(t *testing.T) {
	for what, c := range map[string]struct {
		certificates []*x509.Certificate
		change       func(*Options)
	}{
		"a plugin that does not say so": {nil, func(*Options) {}},
		"with certificates":             {[]*x509.Certificate{{Raw: []byte("der")}}, takingAll},
	} {
		t.Run(what, func(t *testing.T) {
			s := &scripted{authenticate: judged}
			s.all = func(*pluginv1.AuthenticateAllRequest) (*pluginv1.AuthenticateAllResponse, error) {
				panic("it was asked")
			}
			a, _ := newAuth(s, c.change)
			s.held, s.begun = make(chan struct{}), make(chan struct{}, 8)
			var logins sync.WaitGroup
			for range 8 {
				logins.Go(func() {
					_, err := a.Authenticate(t.Context(), Request{ClientID: "c0", PeerCertificates: c.certificates})
					if err != nil {
						t.Error(err)
					}
				})
			}
			for range 8 {
				<-s.begun // each has a call of its own
			}
			close(s.held)
			logins.Wait()
		})
	}
}
