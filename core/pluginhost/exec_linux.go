package pluginhost

import (
	"os"
	"os/exec"
)

// inherited is the descriptor that the first of exec.Cmd's ExtraFiles has in the child.
const inherited = "/proc/self/fd/3"

// startFrom makes a command start the file that was examined, by its open descriptor where it can (direct): nobody can put
// another in its place in between. A script is started by its path, as its interpreter opens it by that; see unchanged.
func startFrom(v verified, cmd *exec.Cmd) (direct bool) {
	cmd.Path, cmd.Args = v.path, []string{v.path}
	if _, err := os.Stat("/proc/self/fd"); !v.image || err != nil {
		return false
	}
	cmd.Path, cmd.ExtraFiles = inherited, []*os.File{v.file}
	return true
}
