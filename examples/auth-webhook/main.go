// Command auth-webhook is a small web service that plugins/auth-http asks who may connect and what each may do. It uses none of the
// gateway's code; plugins/auth-http/README.md describes requests and answers.
//
//	go run ./examples/auth-webhook -listen 127.0.0.1:18090 -secret example-secret
package main

import (
	"crypto/subtle"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// passwords are the passwords of the users. A real service has a database, and hashes.
var passwords = map[string]string{"sensor": "sensor-password", "operator": "operator-password"}

func main() {
	listen := flag.String("listen", "127.0.0.1:18090", "address to listen on")
	secret := flag.String("secret", "example-secret", "what requests must carry as Authorization: Bearer SECRET")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("auth-webhook listens on http://%s\n", listener.Addr())
	server := &http.Server{Handler: service(*secret), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.Serve(listener))
}

func service(secret string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /authenticate", authenticate)
	mux.HandleFunc("POST /authorize", authorize)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+secret)) != 1 {
			http.Error(w, "wrong secret", http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		mux.ServeHTTP(w, r)
	})
}

// authenticate decides about a CONNECT.
func authenticate(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Username string  `json:"username"`
		Password *string `json:"password"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	want, known := passwords[q.Username]
	if !known || q.Password == nil || subtle.ConstantTimeCompare([]byte(*q.Password), []byte(want)) != 1 {
		answer(w, map[string]any{"result": "deny", "reason": "bad_credentials", "detail": "unknown user or wrong password"})
		return
	}
	answer(w, map[string]any{"result": "allow", "identity": q.Username, "attributes": map[string]string{"role": q.Username}})
}

// authorize decides about a client's actions, one decision for each.
func authorize(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ClientID string `json:"client_id"`
		Identity string `json:"identity"`
		Actions  []struct {
			Action string `json:"action"`
			Topic  string `json:"topic"`
		} `json:"actions"`
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	decisions := []map[string]any{}
	for _, a := range q.Actions {
		allow := false
		switch q.Identity {
		case "sensor": // only its own branches; a name with a slash or a wildcard would reach others, and state/p2p/ID each client
			own := map[string]string{"publish": "state/", "subscribe": "cmd/"}[a.Action] + q.ClientID + "/"
			allow = !strings.ContainsAny(q.ClientID, "/+#") && q.ClientID != "p2p" && strings.HasPrefix(a.Topic, own)
		case "operator":
			allow = !strings.HasPrefix(a.Topic, "secret/") && !(a.Action == "subscribe" && strings.ContainsAny(a.Topic[:1], "+#"))
		}
		decisions = append(decisions, map[string]any{"allow": allow, "detail": "rules of " + q.Identity})
	}
	w.Header().Set("Cache-Control", "max-age=60") // how long the gateway may cache the answer
	answer(w, map[string]any{"decisions": decisions})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}
