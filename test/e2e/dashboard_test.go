package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
)

// browserPatience bounds how long a page may take to show something; a browser on a busy machine is slow.
const browserPatience = 2 * time.Minute

// browser opens a headless Chromium that ends with the test. Errors in a page's console fail the test.
func browser(t *testing.T, dark bool) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program(t, "chromium", "the Debian package chromium")),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1360, 860),
		chromedp.WSURLReadTimeout(browserPatience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("blink-settings", fmt.Sprintf("preferredColorScheme=%d", map[bool]int{true: 0, false: 1}[dark])))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // it reports unknown events as errors
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw: %s", e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "401") {
				t.Errorf("the page logged: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	require.NoError(t, chromedp.Run(ctx)) // it starts with the first call, and ends with that call's context
	return ctx
}

// see runs browser actions.
func see(ctx context.Context, t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, browserPatience)
	defer cancel()
	if err := chromedp.Run(limited, actions...); err != nil {
		var text string
		again, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = chromedp.Run(again, chromedp.Text("body", &text))
		require.NoError(t, err, "the page shows: %s", text)
	}
}

// shows waits until the page shows a text.
func shows(text string) chromedp.Action {
	return chromedp.WaitVisible(fmt.Sprintf(`//main//*[contains(text(), %q)] | //dialog//*[contains(text(), %q)]`, text, text), chromedp.BySearch)
}

// press clicks the element with a text.
func press(tag, text string) chromedp.Action {
	return chromedp.Click(fmt.Sprintf(`//%s[normalize-space(text())=%q]`, tag, text), chromedp.BySearch)
}

// picture saves a screenshot of the page if LMQGATE_PICTURES names a directory.
func picture(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("LMQGATE_PICTURES")
	if dir == "" {
		return
	}
	var png []byte
	see(ctx, t, chromedp.CaptureScreenshot(&png))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}

func TestAnOperatorWorksWithTheDashboard(t *testing.T) {
	const viewer = "the-token-of-a-viewer"
	g := start(t, localProfile, settings{"admin": settings{"address": "127.0.0.1:0",
		"tokens": []settings{{"name": "office", "role": "viewer", "token": viewer}}}})
	topic := g.Topic("T")
	sleeper := g.connect(t, "sleeper", persistent)
	sleeper.subscribe(topic+"/#", 1)
	sleeper.leave()
	g.connect5(t, "worker").subscribe(paho.SubscribeOptions{Topic: "$share/team/" + topic + "/#", QoS: 1})
	pub := g.connect(t, "pub")
	for i := range 7 {
		pub.publish(topic+"/a", 1, fmt.Sprint(i))
	}
	pub.publishRetain(topic+"/lamp", 1, true, "on <b>now</b>")
	token, err := os.ReadFile(filepath.Join(g.dir, "data", "admin-token"))
	require.NoError(t, err)

	ctx := browser(t, false)
	see(ctx, t, log.Enable(), chromedp.Navigate("http://"+g.Admin+"/"), shows("Log in"))
	see(ctx, t, chromedp.SendKeys(`input[name=token]`, "wrong-token-wrong"), press("button", "Log in"), shows("does not take this token"))
	see(ctx, t, chromedp.SendKeys(`input[name=token]`, strings.TrimSpace(string(token))), press("button", "Log in"), shows("connected clients"),
		chromedp.WaitVisible(".u-wrap"))
	eventually(t, browserPatience, func() error {
		var n string
		see(ctx, t, chromedp.Text(".tile b", &n))
		if n != "2" {
			return fmt.Errorf("%s connected clients", n)
		}
		return nil
	})
	picture(ctx, t, "overview")

	see(ctx, t, press("a", "Clients"), shows("sleeper"), press("button", "sleeper"), shows("sleeping since"))
	var dialog string
	see(ctx, t, chromedp.Text("dialog", &dialog))
	require.Contains(t, dialog, topic+"/#")
	require.Contains(t, dialog, "Backlog\n8")
	picture(ctx, t, "client")
	see(ctx, t, press("button", "Close"), press("a", "Backlog"), shows("Furthest behind"), shows("$share/team/"+topic+"/#"),
		chromedp.SendKeys(`input[name=id]`, "sleeper"), press("button", "Show"), shows("sleeping since"), press("button", "Close"),
		press("button", "$share/team/"+topic+"/#"), shows("worker"), press("button", "Close"))
	picture(ctx, t, "backlog")
	see(ctx, t, press("a", "Clients"), shows("sleeper"), press("button", "sleeper"), shows("sleeping since"))
	see(ctx, t, press("button", "End session"), press("button[@value='yes']", "End session"), chromedp.WaitNotPresent("dialog"))
	eventually(t, patience, func() error {
		if r := g.operate("clients", "show", "sleeper"); r.code == 0 {
			return fmt.Errorf("the session is there")
		}
		return nil
	})
	see(ctx, t, press("button", "pub"), shows("connected since"), press("button", "Disconnect"), press("button[@value='yes']", "Disconnect"),
		chromedp.WaitNotPresent("dialog"))
	<-pub.lost

	// Texts that clients choose are shown as text, not as HTML.
	see(ctx, t, press("a", "Retained"), shows(topic+"/lamp"), press("button", topic+"/lamp"), shows("on <b>now</b>"), press("button", "Close"))
	see(ctx, t, press("a", "Recent"), shows("closed by an operator"))
	see(ctx, t, press("a", "Limits"), shows("mqtt.max_connections"), shows("127.0.0.1 ("))
	see(ctx, t, press("a", "Topics"), chromedp.SendKeys(`input[name=name]`, g.Name("new")), press("button", "Create"), shows(g.Name("new")))
	see(ctx, t, press("a", "Nodes and plugins"), shows("auth-hmac"), shows("running"))
	picture(ctx, t, "system")

	// The client in the page, through a WebSocket listener.
	see(ctx, t, press("a", "Try it"), shows("Connection"), chromedp.SetValue(`input[name=id]`, "page"),
		chromedp.SendKeys(`input[name=user]`, user), chromedp.SendKeys(`input[name=password]`, g.password("page")), press("button", "Connect"),
		shows("connected to ws://"), chromedp.SetValue(`input[name=filter]`, topic+"/#"), press("button", "Subscribe"), shows("subscribed to"),
		chromedp.SetValue(`input[name=topic]`, topic+"/page"), press("button", "Publish"), shows(topic+"/page  hello"))
	picture(ctx, t, "try")

	// A trace of that client, as a page sees it.
	see(ctx, t, press("a", "Trace"), shows("Nothing is traced."), // the page before has an input of that name, too
		chromedp.SendKeys(`input[name=topic]`, topic+"/#"), press("button", "Start"), shows("Tracing."))
	g.operate("retained", "get", topic+"/lamp").OK() // the gateway answers, so the watch exists
	again := g.connect(t, "again")
	again.publish(topic+"/traced", 1, "x")
	see(ctx, t, shows("PUBLISH"), shows(topic+"/traced"), press("button", "Stop"), shows("The trace is over"))
	picture(ctx, t, "trace")

	see(ctx, t, press("button", "Log out"), shows("Log in"))
	require.NotContains(t, g.Log(), strings.TrimSpace(string(token)))

	// A viewer sees the same, and no buttons that change something.
	see(ctx, t, chromedp.SendKeys(`input[name=token]`, viewer), press("button", "Log in"), shows("Nothing is traced."),
		press("a", "Clients"), shows("again"), press("button", "again"), shows("connected since"))
	var buttons []string
	const shown = `[...document.querySelectorAll("main button, main select:enabled, dialog button")].map((b) => b.textContent).filter((b) => b !== "again")`
	see(ctx, t, chromedp.Evaluate(shown, &buttons))
	require.Equal(t, []string{"allconnectedsleeping", "Search", "worker", "More", "Close"}, buttons)
	see(ctx, t, press("button", "Close"), press("a", "Topics"), shows(g.Name("new")), chromedp.Evaluate(shown, &buttons))
	require.Empty(t, buttons)
	see(ctx, t, press("a", "Nodes and plugins"), shows("auth-hmac"), chromedp.Evaluate(shown, &buttons))
	require.Empty(t, buttons)
	var header string
	see(ctx, t, chromedp.Text("#node", &header))
	require.Contains(t, header, "read only")
	picture(ctx, t, "viewer")
}

func TestTheDashboardLoadsNothingFromElsewhere(t *testing.T) {
	g := start(t, localProfile)
	code, body := g.Get("/")
	require.Equal(t, 200, code)
	require.NotContains(t, body, "http")
	for _, file := range []string{"app.js", "api.js", "dom.js", "overview.js", "pages.js", "trace.js", "tryit.js", "style.css", "vendor/mqtt.min.js", "vendor/uPlot.iife.min.js"} {
		code, _ = g.Get("/dashboard/" + file)
		require.Equal(t, 200, code, file)
	}
	code, _ = g.Get("/dashboard/missing.js")
	require.Equal(t, 404, code)
}
