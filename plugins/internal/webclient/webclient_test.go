package webclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/plugins/internal/clientcert/clientcerttest"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 1000
	}
	c, problems := New(sdk.Setup{}, "tls", o)
	require.Empty(t, problems)
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAnAnswerIsReadWhole(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=5")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.Host+" "+r.Header.Get("X-Key")+" "+string(body))
	})
	c := newClient(t, Options{})
	a, err := c.Do(t.Context(), http.MethodPost, at, http.Header{"X-Key": {"k"}, "Host": {"auth.example"}}, []byte("asked"))
	require.NoError(t, err)
	require.Equal(t, http.StatusTeapot, a.Status)
	require.Equal(t, "POST auth.example k asked", string(a.Body))
	require.Equal(t, "max-age=5", a.Header.Get("Cache-Control"))
}

func TestAnAnswerThatIsTooLargeOrTooLateIsAnError(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1001))
	})
	c := newClient(t, Options{})
	_, err := c.Do(t.Context(), http.MethodGet, at+"/large?secret", nil, nil)
	require.ErrorContains(t, err, "larger than 1000 bytes")
	require.NotContains(t, err.Error(), "secret")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // the server has seen the request by then, also on a busy machine
	defer cancel()
	_, err = c.Do(ctx, http.MethodGet, at+"/late?secret", nil, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrNotSent)
	require.NotContains(t, err.Error(), "secret")
}

func TestARequestThatNobodySawIsToldApart(t *testing.T) {
	const nobody = "http://127.0.0.1:1" // a privileged port, which nobody takes
	_, err := newClient(t, Options{}).Do(t.Context(), http.MethodPost, nobody, nil, []byte("x"))
	require.ErrorIs(t, err, ErrNotSent)
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), "\n")
}

func TestRedirectsAreFollowedOnlyWhereAllowedAndToTheSameHost(t *testing.T) {
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		case "/get":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/here":
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		}
	})
	strict, loose := newClient(t, Options{}), newClient(t, Options{Redirects: true})
	ask := func(c *Client, path string) (string, error) {
		a, err := c.Do(t.Context(), http.MethodPost, at+path, nil, []byte("body"))
		if err != nil {
			return "", err
		}
		return string(a.Body), nil
	}
	_, err := ask(strict, "/moved")
	require.ErrorContains(t, err, "redirect (307)")
	got, err := ask(loose, "/moved")
	require.NoError(t, err)
	require.Equal(t, "body", got)
	for path, says := range map[string]string{"/away": "another host", "/get": "307 or 308", "/loop": "more than 3"} {
		_, err = ask(loose, path)
		require.ErrorContains(t, err, says)
	}
}

func TestTLSVerifiesTheServerAndShowsACertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.Organization[0])
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	key, err := keyDER(s.TLS.Certificates[0])
	require.NoError(t, err)
	files := TLS{CAFile: write("ca.pem", "CERTIFICATE", s.Certificate().Raw),
		CertFile: write("cert.pem", "CERTIFICATE", s.Certificate().Raw), KeyFile: write("key.pem", "PRIVATE KEY", key)}
	c := newClient(t, Options{TLS: files})
	a, err := c.Do(t.Context(), http.MethodGet, s.URL, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "Acme Co", string(a.Body))

	c = newClient(t, Options{TLS: TLS{CertFile: files.CertFile, KeyFile: files.KeyFile}})
	_, err = c.Do(t.Context(), http.MethodGet, s.URL, nil, nil)
	require.ErrorContains(t, err, "certificate")
	c = newClient(t, Options{TLS: TLS{CAFile: files.CAFile}})
	_, err = c.Do(t.Context(), http.MethodGet, s.URL, nil, nil)
	require.Error(t, err, "the server wants a certificate")
	c = newClient(t, Options{TLS: TLS{CertFile: files.CertFile, KeyFile: files.KeyFile, InsecureSkipVerify: true}})
	_, err = c.Do(t.Context(), http.MethodGet, s.URL, nil, nil)
	require.NoError(t, err)
}

func TestTLSSettingsThatCannotBeUsedAreNamed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text.pem"), []byte("text"), 0o600))
	for key, settings := range map[string]TLS{
		"tls.ca_file":   {CAFile: "text.pem"},
		"tls.cert_file": {CertFile: "text.pem", KeyFile: "text.pem"},
		"tls.key_file":  {CertFile: "text.pem"},
	} {
		_, problems := New(sdk.Setup{ConfigDir: dir}, "tls", Options{TLS: settings})
		require.Len(t, problems, 1)
		require.Equal(t, key, problems[0].Key)
	}
	_, problems := New(sdk.Setup{ConfigDir: dir}, "tls", Options{TLS: TLS{CAFile: "none.pem"}})
	require.Contains(t, problems[0].Message, "no such file")
}

func TestPlainHTTPIsForLoopbackUnlessAllowed(t *testing.T) {
	for text, says := range map[string]string{
		"https://auth.example/mqtt":   "",
		"http://127.0.0.1:8080/x":     "",
		"http://[::1]/x":              "",
		"http://localhost:80":         "",
		"http://auth.example/mqtt":    "allow_plain_http",
		"http://127.0.0.1.example":    "allow_plain_http",
		"http://10.0.0.1":             "allow_plain_http",
		"http://localhost.example":    "allow_plain_http",
		"https://user:pw@a.example":   "must not hold",
		"https://":                    "no host",
		"ftp://a.example":             "https://",
		"a.example":                   "https://",
		"https://a.example/#fragment": "fragment",
		"https://a.example/%zz":       "no URL",
	} {
		err := CheckURL(text, false)
		if says == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "pw")
	}
	require.NoError(t, CheckURL("http://auth.example", true))
}

func keyDER(c tls.Certificate) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(c.PrivateKey) }

func TestHeadersThatCannotBeSentAreNamedWithoutTheirValue(t *testing.T) {
	require.NoError(t, CheckHeaders(map[string]string{"Authorization": "Bearer secret", "X-Key_1": ""}))
	for name, value := range map[string]string{"": "secret", "a b": "secret", "X\n": "secret", "X-Key": "secret\r\nX: y", "Content-length": "secret"} {
		err := CheckHeaders(map[string]string{name: value})
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret")
	}
	require.Equal(t, http.Header{"X-Key": {"v"}}, Headers(map[string]string{"x-key": "v"}))
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	clientcerttest.RefusesAnExposedKey(t, "tls.key_file", func(dir string) []sdk.Problem {
		_, problems := New(sdk.Setup{ConfigDir: dir}, "tls", Options{TLS: TLS{CertFile: "cert.pem", KeyFile: "key.pem"}})
		return problems
	})
}
