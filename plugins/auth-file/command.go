package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

const usage = `auth-file is a plugin of lmqgate; the gateway starts it. By hand it does this:

  auth-file hash [--bcrypt [--cost N]]         reads a password from standard input and prints its hash, for password_hash
  auth-file hash --scram [--iterations N]      the same, for scram
  auth-file check FILE                         says what is wrong with a file of users
`

// command runs one of the plugin's own commands and returns the exit status.
func command(args []string, in io.Reader, out, errs io.Writer) int {
	var err error
	switch args[0] {
	case "hash":
		err = hashCommand(args[1:], in, out, errs)
	case "check":
		err = checkCommand(args[1:], out)
	case "help", "-h", "--help":
		fmt.Fprint(out, usage)
		return 0
	default:
		err = fmt.Errorf("there is no command %q; try `auth-file help`", args[0])
	}
	if err != nil {
		fmt.Fprintf(errs, "auth-file: %v\n", err)
		return 1
	}
	return 0
}

func hashCommand(args []string, in io.Reader, out, errs io.Writer) error {
	flags := flag.NewFlagSet("hash", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	useBcrypt := flags.Bool("bcrypt", false, "bcrypt instead of argon2id")
	cost := flags.Int("cost", newBcryptCost, "cost of bcrypt")
	useSCRAM := flags.Bool("scram", false, "a stored key for SCRAM-SHA-256")
	iterations := flags.Int("iterations", newIterations, "iterations of SCRAM-SHA-256")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("hash: %w; try `auth-file help`", err)
	}
	if flags.NArg() > 0 {
		return errors.New("hash takes the password from standard input, not from the command line, where others can see it")
	}
	password, err := readPassword(in, errs)
	if err != nil {
		return err
	}
	text := ""
	switch {
	case *useBcrypt && *useSCRAM:
		return errors.New("hash makes one thing at a time: --bcrypt or --scram")
	case *useBcrypt:
		text, err = newBcrypt(password, *cost)
	case *useSCRAM:
		text, err = newSCRAM(password, *iterations)
	default:
		text = newArgon(password)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// readPassword takes the first line of in; at a terminal it asks, twice and without showing what is typed.
func readPassword(in io.Reader, errs io.Writer) ([]byte, error) {
	if f, isFile := in.(*os.File); isFile && term.IsTerminal(int(f.Fd())) {
		ask := func(prompt string) ([]byte, error) {
			fmt.Fprint(errs, prompt)
			defer fmt.Fprintln(errs)
			return term.ReadPassword(int(f.Fd()))
		}
		first, err := ask("Password: ")
		if err != nil {
			return nil, err
		}
		second, err := ask("Again: ")
		switch {
		case err != nil:
			return nil, err
		case !bytes.Equal(first, second):
			return nil, errors.New("the two passwords are not the same")
		case len(first) == 0:
			return nil, errors.New("the password is empty")
		}
		return first, nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return nil, errors.New("no password on standard input")
	}
	return []byte(line), nil
}

func checkCommand(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("check wants one file; try `auth-file help`")
	}
	list, problems := readUsers(args[0], nil)
	if len(problems) > 0 {
		return fmt.Errorf("%s: %w", args[0], &fileError{problems})
	}
	_, err := fmt.Fprintf(out, "%s is right: %d users\n", args[0], len(list.all))
	return err
}
