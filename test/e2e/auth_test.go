package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// authScheme is an auth plugin with its configuration and its way to log in. Each has the same two users: one who may do everything, and
// one with the rules of ruledRules.
type authScheme struct {
	plugin string
	// config returns auth.config; dir is the gateway's directory.
	config func(t *testing.T, dir string) settings
	// password returns a user's password for a client id; the second user has another one.
	password func(t *testing.T, user, clientID string) string
}

var ruledRules = []settings{
	{"effect": "allow", "action": "publish", "topic": "%u/out/%c"},
	{"effect": "allow", "action": "subscribe", "topic": "%u/in/#"},
}

var hmacScheme = &authScheme{
	plugin: "auth-hmac",
	config: func(*testing.T, string) settings {
		return settings{"users": []settings{
			{"username": user, "secret_key": secret},
			{"username": ruledUser, "secret_key": ruledSecret, "rules": ruledRules},
		}}
	},
	password: func(_ *testing.T, u, clientID string) string { return sign(secretOf(u), clientID) },
}

func secretOf(u string) string {
	if u == ruledUser {
		return ruledSecret
	}
	return secret
}

var fileScheme = &authScheme{
	plugin: "auth-file",
	config: func(t *testing.T, dir string) settings {
		t.Helper()
		hash := func(password string) string {
			text, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
			require.NoError(t, err)
			return string(text)
		}
		text, err := json.Marshal(settings{"users": []settings{ // JSON is YAML
			{"username": user, "password_hash": hash(secret)},
			{"username": ruledUser, "password_hash": hash(ruledSecret), "rules": ruledRules},
		}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "users.yaml"), text, 0o600))
		return settings{"file": "users.yaml"}
	},
	password: func(_ *testing.T, u, _ string) string { return secretOf(u) },
}

const tokenSecret = "a secret that signs tokens, of 40 bytes."

var jwtScheme = &authScheme{
	plugin: "auth-jwt",
	config: func(*testing.T, string) settings {
		return settings{"keys": []settings{{"secret": tokenSecret}}, "username_claim": "sub", "rules_claim": "acl"}
	},
	password: func(t *testing.T, u, _ string) string {
		t.Helper()
		var acl any = settings{"all": []string{"#"}}
		if u == ruledUser {
			acl = ruledRules
		}
		claims := jwt.MapClaims{"sub": u, "exp": time.Now().Add(time.Hour).Unix(), "acl": acl}
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
		require.NoError(t, err)
		return text
	},
}

var httpScheme = &authScheme{
	plugin: "auth-http",
	config: func(t *testing.T, _ string) settings {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(webhook))
		t.Cleanup(s.Close)
		return settings{"authenticate_url": s.URL + "/authenticate", "authorize_url": s.URL + "/authorize"}
	},
	password: func(_ *testing.T, u, _ string) string { return secretOf(u) },
}

// webhook is the web service that httpScheme asks.
func webhook(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ClientID string `json:"client_id"`
		Username string `json:"username"`
		Password string `json:"password"`
		Identity string `json:"identity"`
		Actions  []struct{ Action, Topic string }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer any
	if r.URL.Path == "/authenticate" {
		answer = settings{"result": "deny"}
		if (q.Username == user || q.Username == ruledUser) && q.Password == secretOf(q.Username) {
			answer = settings{"result": "allow"}
		}
	} else {
		decisions := []settings{}
		for _, a := range q.Actions {
			allow := q.Identity == user ||
				a.Action == "publish" && a.Topic == ruledUser+"/out/"+q.ClientID ||
				a.Action == "subscribe" && strings.HasPrefix(a.Topic, ruledUser+"/in/")
			decisions = append(decisions, settings{"allow": allow})
		}
		answer = settings{"decisions": decisions}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestAClientIsDisconnectedWhenItsTokenExpires(t *testing.T) {
	t.Parallel()
	p := localProfile
	p.auth = jwtScheme
	g := start(t, p)
	topic := g.Topic("expiry") + "/x"
	stays := g.connect(t, g.Name("stays"))
	stays.subscribe(topic, 1)
	expires := time.Now().Add(8 * time.Second).Truncate(time.Second) // enough to connect and publish on a busy machine
	claims := jwt.MapClaims{"sub": user, "exp": expires.Unix(), "acl": settings{"all": []string{"#"}}}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
	require.NoError(t, err)
	token := func(o *clientOptions) { o.SetPassword(text) }
	c := g.connect(t, g.Name("client"), token)
	c.publish(topic, 1, "before")
	select {
	case <-c.lost:
		require.GreaterOrEqual(t, time.Now().Unix(), expires.Unix()) // with a leeway of at most 5 s
	case <-time.After(patience):
		t.Fatal("the client is still connected")
	}
	_, err = g.tryConnect(t, g.Name("client"), token)
	require.Error(t, err, "the token has expired")
	again := g.connect(t, g.Name("client"))
	again.publish(topic, 1, "after")
	require.Equal(t, []string{"before", "after"}, texts(stays.await(2)))
}

func TestAClientIsDisconnectedWhenItsUserIsTakenOutOfTheFile(t *testing.T) {
	t.Parallel()
	p := localProfile
	p.auth = fileScheme
	g := start(t, p)
	topic := g.Topic("removal") + "/x"
	stays := g.connect(t, g.Name("stays"))
	stays.subscribe(topic, 1)
	path := filepath.Join(g.dir, "users.yaml")
	as := func(u string) option {
		return func(o *clientOptions) { o.SetUsername(u).SetPassword(g.auth.password(t, ruledUser, "")) }
	}
	goes := g.connect(t, g.Name("goes"), as(ruledUser))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	changed := strings.ReplaceAll(string(text), `"`+ruledUser+`"`, `"renamed"`)
	require.NotEqual(t, string(text), changed)
	require.NoError(t, os.WriteFile(path+".new", []byte(changed), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	select {
	case <-goes.lost:
	case <-time.After(patience):
		t.Fatal("the client is still connected")
	}
	_, err = g.tryConnect(t, g.Name("goes"), as(ruledUser))
	require.Error(t, err)
	g.connect(t, g.Name("renamed"), as("renamed"))
	stays.publish(topic, 1, "still here")
	require.Equal(t, []string{"still here"}, texts(stays.await(1)))
}

func TestConnectedClientsGoOnWhileTheWebhookIsAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(webhook))
	t.Cleanup(s.Close)
	scheme := *httpScheme
	scheme.config = func(*testing.T, string) settings {
		return settings{"authenticate_url": s.URL + "/authenticate", "authorize_url": s.URL + "/authorize", "cache": "1s"}
	}
	p := localProfile
	p.auth = &scheme
	g := start(t, p)
	topic := g.Topic("outage") + "/x"
	sub := g.connect(t, g.Name("subscriber"))
	sub.subscribe(topic, 1)
	pub := g.connect(t, g.Name("publisher"))
	pub.publish(topic, 1, "0")
	s.CloseClientConnections()
	s.Close()
	_, err := g.tryConnect(t, g.Name("new"))
	require.Error(t, err, "nobody is admitted without an answer")
	eventually(t, patience, func() error {
		if code, body := g.Get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "webhook") {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	begun := time.Now()
	sent := 1
	for ; time.Since(begun) < 3*time.Second; sent++ { // longer than the decision was valid
		pub.publish(topic, 1, strconv.Itoa(sent))
	}
	sub.await(sent)
	require.Equal(t, numbers(0, sent), sub.payloads())
}

// tokenAuther is the client's side of the method JWT, a single message, for paho.golang.
type tokenAuther struct{}

func (tokenAuther) Authenticate(a *paho.Auth) *paho.Auth { return a }
func (tokenAuther) Authenticated()                       {}

func TestAnMQTT5ClientRenewsItsTokenWithoutReconnecting(t *testing.T) {
	t.Parallel()
	p := localProfile
	p.auth = &authScheme{plugin: "auth-jwt", password: jwtScheme.password, config: func(*testing.T, string) settings {
		return settings{"keys": []settings{{"secret": tokenSecret}}, "leeway": "0s"}
	}}
	g := start(t, p)
	topic := g.Topic("renewal") + "/x"
	token := func(life time.Duration) []byte {
		text, err := jwt.NewWithClaims(
			jwt.SigningMethodHS256,
			jwt.MapClaims{"sub": user, "exp": time.Now().Add(life).Unix()},
		).SignedString(
			[]byte(tokenSecret),
		)
		require.NoError(t, err)
		return []byte(text)
	}
	const life = 10 * time.Second // enough to connect and renew on a busy machine
	connected := time.Now()
	c, err := g.tryConnect5(t, g.Name("client"), func(config *paho.ClientConfig, c *paho.Connect) {
		config.AuthHandler = tokenAuther{}
		c.UsernameFlag, c.PasswordFlag, c.Username, c.Password = false, false, "", nil
		c.Properties.AuthMethod, c.Properties.AuthData = "JWT", token(life)
	})
	require.NoError(t, err)
	c.subscribe(paho.SubscribeOptions{Topic: topic, QoS: 1})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	renew := func(life time.Duration) error {
		_, err := c.Client.Authenticate(
			ctx,
			&paho.Auth{ReasonCode: 0x19, Properties: &paho.AuthProperties{AuthMethod: "JWT", AuthData: token(life)}},
		)
		return err
	}
	require.NoError(t, renew(time.Hour))
	select {
	case d := <-c.lost:
		t.Fatalf("the connection was closed: %+v", d)
	case <-time.After(time.Until(connected.Add(life + time.Second))):
	}
	c.publish(&paho.Publish{Topic: topic, QoS: 1, Payload: []byte("still here")})
	require.Equal(t, "still here", string(c.await(1)[0].Payload))
	_ = renew(-time.Minute)
	select {
	case d := <-c.lost:
		require.Equal(t, byte(0x87), d.ReasonCode, "a token that has expired")
	case <-time.After(patience):
		t.Fatal("the client is still connected")
	}
}
