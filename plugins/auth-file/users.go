package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"reflect"
	"strings"

	"github.com/xdg-go/scram"
	"go.yaml.in/yaml/v3"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// usersFile is the content of the file.
type usersFile struct {
	Users []entry `config:"users,required"`
}

// entry is one user as the file has it.
type entry struct {
	Username     string            `config:"username,required"`
	PasswordHash string            `config:"password_hash,secret"`
	SCRAM        string            `config:"scram,secret"`
	ClientIDs    []string          `config:"client_ids"`
	Disabled     bool              `config:"disabled"`
	Rules        []topicrules.Rule `config:"rules"`
}

// user is a valid entry. It is immutable.
type user struct {
	entry
	hash  hash                     // nil: no password is right
	scram *scram.StoredCredentials // nil: not by SCRAM
}

// mayUse reports whether the user may connect with a client identifier.
func (u *user) mayUse(clientID string) bool {
	for _, pattern := range u.ClientIDs {
		prefix, open := strings.CutSuffix(pattern, "*")
		if pattern == clientID || open && strings.HasPrefix(clientID, prefix) {
			return true
		}
	}
	return len(u.ClientIDs) == 0
}

// sameCredentials reports whether a client that was admitted as u would also be admitted as other.
func (u *user) sameCredentials(other *user) bool {
	return u.PasswordHash == other.PasswordHash && u.SCRAM == other.SCRAM && u.Disabled == other.Disabled &&
		reflect.DeepEqual(u.ClientIDs, other.ClientIDs)
}

// users is a snapshot of the content of the file. It is immutable.
type users struct {
	byName map[string]*user
	all    []*user
	hashed []*user                  // those with a password hash
	scram  *scram.StoredCredentials // of the first user who has SCRAM credentials
	digest [sha256.Size]byte        // of the text
}

// decoySeed makes the decoys of one process unpredictable.
var decoySeed = maphash.MakeSeed()

// find looks up a user with a password hash. If there is no such user, it returns a decoy, whose hash the caller must compute before it
// refuses: another user's hash, always the same for the same name. So the time of a refusal does not reveal which names exist, even if
// users have hashes of different costs. If no user has a hash, find returns nil.
func (s *users) find(name string) (u *user, known bool) {
	if u := s.byName[name]; u != nil && u.hash != nil {
		return u, true
	}
	if len(s.hashed) == 0 {
		return nil, false
	}
	return s.hashed[maphash.String(decoySeed, name)%uint64(len(s.hashed))], false
}

// parseUsers parses the text of a file. Unchanged entries keep their *user from before, which may be nil.
func parseUsers(text []byte, before *users) (*users, []sdk.Problem) {
	block, err := jsonOf(text)
	if err != nil {
		return nil, []sdk.Problem{sdk.Problemf("", "%v", err)}
	}
	var file usersFile
	problems := sdk.Decode(block, &file)
	if len(problems) == 0 && len(file.Users) == 0 {
		problems = append(problems, sdk.Problemf("users", "names nobody, so nobody could connect; write at least one user"))
	}
	out := &users{byName: make(map[string]*user, len(file.Users))}
	for i, e := range file.Users {
		key := fmt.Sprintf("users[%d]", i)
		u, more := newUser(key, e, before)
		problems = append(problems, more...)
		if _, there := out.byName[e.Username]; there {
			problems = append(problems, sdk.Problemf(key+".username", "is there before: %q", e.Username))
		}
		out.byName[e.Username] = u
		out.all = append(out.all, u)
		if u.hash != nil {
			out.hashed = append(out.hashed, u)
		}
		if u.scram != nil && out.scram == nil {
			out.scram = u.scram
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return out, nil
}

func newUser(key string, e entry, before *users) (*user, []sdk.Problem) {
	if before != nil {
		if old, there := before.byName[e.Username]; there && reflect.DeepEqual(old.entry, e) {
			return old, nil
		}
	}
	problems := topicrules.Check(key+".rules", e.Rules, false)
	for i, pattern := range e.ClientIDs {
		if pattern == "" || strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
			problems = append(
				problems,
				sdk.Problemf(
					fmt.Sprintf("%s.client_ids[%d]", key, i),
					"must be a client identifier, or the beginning of some with a * at its end",
				),
			)
		}
	}
	u := &user{entry: e}
	var err error
	if e.PasswordHash == "" && e.SCRAM == "" {
		problems = append(problems, sdk.Problemf(key+".password_hash", "is required, or scram; make one with `auth-file hash`"))
	}
	if e.PasswordHash != "" {
		if u.hash, err = parseHash(e.PasswordHash); err != nil {
			problems = append(problems, sdk.Problemf(key+".password_hash", "%v", err))
		}
	}
	if e.SCRAM != "" {
		if u.scram, err = parseSCRAM(e.SCRAM); err != nil {
			problems = append(problems, sdk.Problemf(key+".scram", "%v", err))
		}
	}
	return u, problems
}

// jsonOf turns one YAML document into the JSON that sdk.Decode reads.
func jsonOf(text []byte) ([]byte, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var v any
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(oneLine(withoutValues(err)))
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document")
	}
	if v == nil {
		v = map[string]any{}
	}
	if _, isMap := v.(map[string]any); !isMap {
		return nil, errors.New("must hold `users:` and a list, with texts as keys")
	}
	block, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("has a key that is no text")
	}
	return block, nil
}

// withoutValues formats a YAML error. The parser's messages name lines, and quote only keys and syntax.
func withoutValues(err error) string {
	return "is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
