package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// issuer serves a key set.
type issuer struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	body   []byte
	asked  atomic.Int32
	header string
	// hold, if set, is received from before each answer.
	hold chan struct{}
}

func newIssuer(t *testing.T, body []byte) *issuer {
	t.Helper()
	i := &issuer{status: http.StatusOK, body: body}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		status, body, hold := i.status, i.body, i.hold
		i.header = r.Header.Get("X-Key")
		i.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(status int, body []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body = status, body
}

func eventually(t *testing.T, condition func() bool, about string) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, 10*time.Millisecond, about)
}

func healthy(t *testing.T, p *plugin) {
	t.Helper()
	eventually(t, func() bool { return p.Health(t.Context()) == nil }, "healthy")
}

func TestASetAtAURLIsUsedAndAnUnknownKeyIDHasItReadAgain(t *testing.T) {
	i := newIssuer(
		t,
		webKeys(
			t,
			webKey(t, "one", p256Key().Public(), nil),
			webKey(t, "rsa", rsaKey().Public(), nil),
			webKey(t, "ed", edKey().Public(), nil),
		),
	)
	p, log := activate(
		t,
		"",
		block{"jwks": []block{{"url": i.URL + "/keys?token=hidden", "refresh": "1h", "headers": block{"x-key": "hidden"}}}},
	)
	// This does not wait for health: the first token waits for the keys.
	admitSoon(t, p, sign(t, "ES256", p256Key(), good(nil), block{"kid": "one"}))
	admit(t, p, sign(t, "PS512", rsaKey(), good(nil), block{"kid": "rsa"}))
	admit(t, p, sign(t, "EdDSA", edKey(), good(nil), nil))
	require.NoError(t, p.Health(t.Context()))
	refuse(t, p, sign(t, "ES256", otherKey(), good(nil), block{"kid": "one"}), bad, "signature")
	require.Equal(t, int32(1), i.asked.Load(), "keys that are known are not read again")

	i.serve(http.StatusOK, webKeys(t, webKey(t, "one", p256Key().Public(), nil), webKey(t, "two", otherKey().Public(), nil)))
	admitSoon(t, p, sign(t, "ES256", otherKey(), good(nil), block{"kid": "two"}))
	require.Equal(t, int32(2), i.asked.Load())
	for n := range 20 {
		refuse(t, p, sign(t, "ES256", otherKey(), good(nil), block{"kid": fmt.Sprint("made up ", n)}), bad, "no key has the id")
	}
	require.Equal(t, int32(2), i.asked.Load(), "tokens cannot make the plugin ask all the time")
	require.Equal(t, "hidden", i.header)
	require.NotContains(t, log.String(), "hidden")
	require.Contains(t, log.String(), "set audiences")
}

func TestASetIsReadAgainAndSurvivesAnOutage(t *testing.T) {
	i := newIssuer(t, webKeys(t, webKey(t, "one", p256Key().Public(), nil)))
	p, log := activate(t, "", block{"jwks": []block{{"url": i.URL, "refresh": "1s"}}, "audiences": []string{"mqtt"}})
	aud := good(map[string]any{"aud": "mqtt"})
	one, two := sign(t, "ES256", p256Key(), aud, block{"kid": "one"}), sign(t, "ES256", otherKey(), aud, nil)
	admitSoon(t, p, one)
	for name, body := range map[string]string{"status": "x", "no JSON": "<html>", "no keys": `{"keys": []}`, "large": strings.Repeat(" ", maxSetBytes+1)} {
		status := http.StatusOK
		if name == "status" {
			status = http.StatusInternalServerError
		}
		before := i.asked.Load()
		i.serve(status, []byte(body))
		eventually(t, func() bool { return i.asked.Load() >= before+2 }, name) // the previous answer was already this one
		admit(t, p, one)
		require.NoError(t, p.Health(t.Context()), "the keys are there")
	}
	require.Contains(t, log.String(), "status 500")
	refuse(t, p, two, bad, "signature")
	i.serve(http.StatusOK, webKeys(t, webKey(t, "two", otherKey().Public(), nil)))
	eventually(t, func() bool { return authenticate(t, p, two).GetReason() == ok }, "the new set without a key id in the token")
	refuse(t, p, one, bad, "no key has the id")
}

func TestWithoutKeysNobodyIsJudgedAndHealthSaysWhy(t *testing.T) {
	i := newIssuer(t, nil)
	i.serve(http.StatusNotFound, nil)
	p, _ := activate(t, "", block{"jwks": []block{{"url": i.URL, "refresh": "1s"}}})
	token := sign(t, "ES256", p256Key(), good(nil), block{"kid": "one"})
	eventually(t, func() bool {
		err := p.Health(t.Context())
		return err != nil && strings.Contains(err.Error(), "status 404")
	}, "unhealthy")
	refuse(t, p, token, unavailable, "keys cannot be read")
	i.serve(http.StatusOK, webKeys(t, webKey(t, "one", p256Key().Public(), nil)))
	healthy(t, p)
	admit(t, p, token)
}

func TestAnIssuerThatHangsHoldsATokenForALimitedTime(t *testing.T) {
	i := newIssuer(t, nil)
	i.mu.Lock()
	i.hold = make(chan struct{})
	i.mu.Unlock()
	p, _ := activate(t, "", block{"jwks": []block{{"url": i.URL, "timeout": "30s"}}})
	begun := time.Now()
	refuse(t, p, sign(t, "ES256", p256Key(), good(nil), nil), unavailable, "keys cannot be read")
	require.Less(t, time.Since(begun), 25*time.Second)
}

func TestKeysThatAreTooOldAreNotUsed(t *testing.T) {
	i := newIssuer(t, webKeys(t, webKey(t, "one", p256Key().Public(), nil)))
	p, _ := activate(t, "", block{"jwks": []block{{"url": i.URL, "refresh": "1s", "max_stale": "2s"}}})
	token := sign(t, "ES256", p256Key(), good(nil), block{"kid": "one"})
	admitSoon(t, p, token)
	i.serve(http.StatusServiceUnavailable, nil)
	eventually(t, func() bool { return authenticate(t, p, token).GetReason() == unavailable }, "the keys age")
	require.ErrorContains(t, p.Health(t.Context()), "older than max_stale (2s)")
	i.serve(http.StatusOK, webKeys(t, webKey(t, "one", p256Key().Public(), nil)))
	healthy(t, p)
	admitSoon(t, p, token)
}

func TestASetInAFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	write := func(text []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), text, 0o600))
		require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "jwks.json")))
	}
	p, _ := activate(t, dir, block{"jwks": []block{{"file": "jwks.json", "refresh": "1s", "algorithms": []string{"HS256"}}}})
	eventually(t, func() bool {
		err := p.Health(t.Context())
		return err != nil && strings.Contains(err.Error(), "no such file")
	}, "unhealthy")
	write(webKeys(t, webKey(t, "one", []byte(secret), nil)))
	healthy(t, p)
	admit(t, p, sign(t, "HS256", []byte(secret), good(nil), block{"kid": "one"}))
	write([]byte("{"))
	other := []byte("another secret of thirty-two byte")
	write(webKeys(t, webKey(t, "two", other, nil)))
	token := sign(t, "HS256", other, good(nil), block{"kid": "two"})
	eventually(t, func() bool { return authenticate(t, p, token).GetReason() == ok }, "the second key")
}

func TestAnActivePluginComesBackAfterARollBack(t *testing.T) {
	i := newIssuer(t, webKeys(t, webKey(t, "one", p256Key().Public(), nil)))
	p, _ := activate(t, "", block{"jwks": []block{{"url": i.URL, "refresh": "1h"}}})
	healthy(t, p)
	require.NoError(t, p.Deactivate(t.Context()))
	require.NoError(t, p.Activate(t.Context()))
	admitSoon(t, p, sign(t, "ES256", p256Key(), good(nil), block{"kid": "one"}))
}
