package pluginhost

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// outOfMemoryScore is the oom_score_adj of plugins: when memory runs out, the kernel kills a plugin before the gateway, because a plugin is
// restarted and nobody is disconnected.
const outOfMemoryScore = "300"

// memoryOf returns the private memory of a process, in bytes: resident memory without file-backed pages, which the kernel can reclaim (a
// memory-mapped database does not count). ok is false if it is unknown.
func memoryOf(pid int) (used uint64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key != "RssAnon" && key != "RssShmem" {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
		if err != nil {
			return 0, false
		}
		used, ok = used+kib<<10, true
	}
	return used, ok
}

// offer makes a plugin's process the first to be killed when the machine runs out of memory. If that is not permitted, nothing changes.
func offer(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(outOfMemoryScore), 0)
}
