package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
)

func newCredentialsCommand(app *app) *cobra.Command {
	var (
		conf     configFlags
		clientID string
		username string
	)
	cmd := &cobra.Command{
		Use:   "credentials --config FILE --client-id ID",
		Short: "Print the user name and password of a client",
		Long: "Prints username= and password= lines for a client identifier, computed from auth-hmac's users in the configuration:\n" +
			"password = Base64(HMAC-SHA1(secret key, client identifier)).",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if clientID == "" {
				return usagef("%s wants a client identifier: --client-id ID", cmd.CommandPath())
			}
			c, err := conf.load()
			if err != nil {
				return err
			}
			user, password, err := credentials(c, username, clientID)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "username=%s\npassword=%s\n", user, password)
			return err
		},
	}
	conf.app = app
	conf.register(cmd)
	cmd.Flags().StringVar(&clientID, "client-id", "", "client identifier that the password is for")
	cmd.Flags().StringVarP(&username, "username", "u", "", "user of the configuration (default: the first)")
	return cmd
}

// credentials computes the credentials of a client. An empty username selects the first user of the configuration.
func credentials(c *config.Config, username, clientID string) (user, password string, err error) {
	if c.Auth.Plugin != config.DefaultAuthPlugin {
		return "", "", fmt.Errorf("auth.plugin is %q, and only %s's passwords can be computed: give -u and -P", c.Auth.Plugin, config.DefaultAuthPlugin)
	}
	users, _ := c.Auth.Config["users"].([]any)
	for _, entry := range users {
		u, _ := entry.(map[string]any)
		name, _ := u["username"].(string)
		secret, _ := u["secret_key"].(string)
		if name == "" || secret == "" || (username != "" && username != name) {
			continue
		}
		return name, credential.Password(secret, clientID), nil
	}
	if username != "" {
		return "", "", fmt.Errorf("auth.config.users has no user %q with a secret_key", username)
	}
	return "", "", fmt.Errorf("auth.config.users has no user with a username and a secret_key")
}
