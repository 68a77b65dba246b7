package main

import "github.com/spf13/cobra"

// output is the -o flag of commands that list something: lines for people, or JSON for programs.
type output string

func (o *output) register(cmd *cobra.Command) {
	*o = "text"
	cmd.Flags().StringVarP((*string)(o), "output", "o", "text", "how to print: text or json")
}

// json reports whether the output is JSON.
func (o *output) json() (bool, error) {
	return *o == "json", oneOf("-o", string(*o), "text", "json")
}
