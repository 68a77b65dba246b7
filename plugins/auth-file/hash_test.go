package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHashesOfOthersAreUnderstood(t *testing.T) {
	cases := map[string]string{ // hash: password; from the test vectors of OpenWall's crypt_blowfish and of argon2's authors
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":                           "U*U",
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK":                           "U*U*",
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4":   "password",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": "password",
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc":   "password",
		aliceHash: "alice-password",
		bobHash:   "bob-password",
	}
	for text, password := range cases {
		h, err := parseHash(text)
		require.NoError(t, err, text)
		require.True(t, h.matches([]byte(password)), text)
		require.False(t, h.matches([]byte(password+"x")), text)
		require.False(t, h.matches(nil), text)
	}
}

func TestHashesThatCannotBeUsedAreRefusedWithTheReason(t *testing.T) {
	cases := map[string]string{
		"plain":                                                 "neither a bcrypt",
		"5f4dcc3b5aa765d61d8327deb882cf99":                      "neither a bcrypt",
		"$argon2i$v=19$m=64,t=1,p=1$c2Fs$c2Fs":                  "neither a bcrypt",
		"$2b$10$short":                                          "60 characters",
		strings.Replace(aliceHash, "$04$", "$16$", 1):           "cost 16",
		strings.Replace(bobHash, "m=64", "m=300000", 1):         "costs too much",
		strings.Replace(bobHash, "t=1", "t=17", 1):              "costs too much",
		strings.Replace(bobHash, "p=1", "p=300", 1):             "costs too much",
		strings.Replace(bobHash, "t=1", "t=0", 1):               "does not have",
		strings.Replace(bobHash, "m=64", "m=7", 1):              "does not have",
		strings.Replace(bobHash, "v=19", "v=16", 1):             "of the form",
		strings.Replace(bobHash, "m=64", "m=+64", 1):            "of the form",
		strings.Replace(bobHash, "p=1", "p=1,keyid=x", 1):       "of the form",
		bobHash + "$x":                                          "of the form",
		bobHash[:len(bobHash)-1] + "!":                          "of the form",
		"$argon2id$v=19$m=64,t=1,p=1$c2Fs$c2FsdHNhbHRzYWx0c2Fs": "salt of 8",
	}
	for text, says := range cases {
		_, err := parseHash(text)
		require.ErrorContains(t, err, says, text)
	}
}

func TestBcryptComparesNoMoreThanItHashes(t *testing.T) {
	text, err := newBcrypt(bytes.Repeat([]byte("p"), 72), 4)
	require.NoError(t, err)
	h, err := parseHash(text)
	require.NoError(t, err)
	require.True(t, h.matches(bytes.Repeat([]byte("p"), 72)))
	require.False(t, h.matches(bytes.Repeat([]byte("p"), 73)), "what bcrypt ignores is no password")
}

func FuzzHashesOfAnyTextAreParsedOrRefused(f *testing.F) {
	f.Add(aliceHash)
	f.Add(bobHash)
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := parseHash(text); (h == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", text, h, err)
		}
	})
}

func run(in string, args ...string) (status int, out, errs string) {
	var o, e bytes.Buffer
	status = command(args, strings.NewReader(in), &o, &e)
	return status, o.String(), e.String()
}

func TestTheHashCommandMakesHashesThatAreUnderstood(t *testing.T) {
	for _, args := range [][]string{{"hash"}, {"hash", "--bcrypt", "--cost", "4"}} {
		made := map[string]bool{}
		for _, in := range []string{"secret word", "secret word\n", "secret word\r\n"} {
			status, out, errs := run(in, args...)
			require.Zero(t, status, errs)
			made[out] = true
			h, err := parseHash(strings.TrimSuffix(out, "\n"))
			require.NoError(t, err)
			require.True(t, h.matches([]byte("secret word")))
		}
		require.Len(t, made, 3, "each has a salt of its own")
	}
}

func TestCommandsThatCannotBeDoneSayWhyOnOneLine(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte("users: [{username: a}]"), 0o600))
	cases := []struct {
		in   string
		args []string
		says string
	}{
		{"", []string{"hash"}, "no password on standard input"},
		{"\n", []string{"hash"}, "no password on standard input"},
		{"x", []string{"hash", "secret"}, "where others can see it"},
		{"x", []string{"hash", "--bcrypt", "--cost", "40"}, "from 4 to 15"},
		{strings.Repeat("x", 73), []string{"hash", "--bcrypt"}, "72 bytes"},
		{"x", []string{"hash", "--md5"}, "auth-file help"},
		{"", []string{"serve"}, `no command "serve"`},
		{"", []string{"check"}, "wants one file"},
		{"", []string{"check", filepath.Join(dir, "none.yaml")}, "no such file"},
		{"", []string{"check", filepath.Join(dir, "bad.yaml")}, "users[0].password_hash: is required"},
	}
	for _, c := range cases {
		status, out, errs := run(c.in, c.args...)
		require.Equal(t, 1, status, c.args)
		require.Empty(t, out)
		require.Contains(t, errs, c.says)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		require.NotContains(t, errs, "secret")
	}
	status, out, _ := run("", "help")
	require.Zero(t, status)
	require.Contains(t, out, "auth-file hash")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "good.yaml"), []byte(twoUsers), 0o600))
	status, out, _ = run("", "check", filepath.Join(dir, "good.yaml"))
	require.Zero(t, status)
	require.Contains(t, out, "2 users")
}

// BenchmarkHash measures the cost of one CONNECT.
func BenchmarkHash(b *testing.B) {
	for name, make := range map[string]func() string{
		"argon2id": func() string { return newArgon([]byte("password")) },
		"bcrypt-10": func() string {
			text, err := newBcrypt([]byte("password"), newBcryptCost)
			require.NoError(b, err)
			return text
		},
	} {
		b.Run(name, func(b *testing.B) {
			h, err := parseHash(make())
			require.NoError(b, err)
			for b.Loop() {
				h.matches([]byte("password"))
			}
		})
	}
}
