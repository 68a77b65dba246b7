package pluginhost

import (
	"os"
	"os/exec"
)

// inherited is the path of the first of exec.Cmd's ExtraFiles in the child.
const inherited = "/proc/self/fd/3"

// startFrom makes a command start the verified file. If possible it starts the open descriptor (direct is true), so that nobody can replace
// the file in between. A script is started by its path, because its interpreter opens the path; see unchanged.
func startFrom(v verified, cmd *exec.Cmd) (direct bool) {
	cmd.Path, cmd.Args = v.path, []string{v.path}
	if _, err := os.Stat("/proc/self/fd"); !v.image || err != nil {
		return false
	}
	cmd.Path, cmd.ExtraFiles = inherited, []*os.File{v.file}
	return true
}
