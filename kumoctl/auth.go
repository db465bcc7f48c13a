package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
)

func newAuth(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use: "auth", Short: "Make and change the certificates and keys with which nodes and operators come to the bus",
		Long: `Make and change the certificates and keys with which nodes and operators come
to the bus of a cluster. Nothing here speaks to the cluster: the commands change a
folder, and say which parts of it go where.

Every connection is TLS with a certificate at both ends then, and who connects shows
an NKey, of a role: manager, server, gateway, admin and readonly (kumoctl's) and
observer (who listens to what happens). docs/security.md says what each may do.`,
		Example: `  kumoctl auth init ./credentials --hosts mgr1,svr1,svr2,svr3
  kumoctl auth show ./credentials
  kumoctl auth rotate ./credentials gateway
  kumoctl auth retire ./credentials gateway`,
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("want: auth init DIR, show DIR, rotate DIR ROLE, retire DIR ROLE or password DIR ROLE NAME")
		},
	}
	cmd.AddCommand(newAuthInit(g), newAuthShow(g), newAuthRotate(g), newAuthRetire(g), newAuthPassword(g))
	return cmd
}

func newAuthInit(g *global) *cobra.Command {
	var hosts []string
	cmd := &cobra.Command{
		Use: "init DIR", Args: cobra.ExactArgs(1),
		Short: "Make a folder with credentials for every role of a cluster",
		Long: `Make a folder with credentials for every role of a cluster, and say where each
of its parts goes. Nothing is overwritten.

Daemons and kumoctl know a manager or server by a name that all their certificates
are for, so that servers can be added later. Programs that compare the address, as
the nats command does, need --hosts.`,
		Example: `  kumoctl auth init ./credentials
  kumoctl auth init ./credentials --cluster shop --hosts mgr1,svr1,10.0.0.7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := credentials.Init(args[0], g.cluster, hosts, time.Now()); err != nil {
				return fmt.Errorf("make credentials: %w", err)
			}
			return g.print(cmd, map[string]string{"dir": args[0], "cluster": g.cluster}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, initText, args[0], g.cluster)
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "names and addresses of managers and servers, for programs that compare them")
	return cmd
}

const initText = `%[1]s has the credentials of cluster %[2]s. Copy, for whoever runs the daemon alone to read:

  %[1]s/manager   to each manager                  kumo-manager --credentials FOLDER
  %[1]s/server    to each server                   kumo-server --credentials FOLDER
  %[1]s/gateway   to each gateway                  kumo-gateway --credentials FOLDER
  %[1]s/admin     to operators                     kumoctl --credentials FOLDER (or KUMO_CREDENTIALS)
  %[1]s/readonly  to operators who only look       kumoctl --credentials FOLDER
  %[1]s/observer  to whoever listens               kumoctl --credentials FOLDER nats-context --save

Keep %[1]s itself where no daemon runs: %[1]s/ca signs what everybody trusts.
All daemons of a cluster have credentials, or none: begin with a restart of all.
`

func newAuthShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "show DIR", Args: cobra.ExactArgs(1),
		Short:   "List the identities of a folder of credentials, and when certificates expire",
		Example: "  kumoctl auth show ./credentials\n  kumoctl auth show ./credentials -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := credentials.Open(args[0], time.Now())
			if err != nil {
				return err
			}
			list, err := s.Show()
			if err != nil {
				return err
			}
			return g.print(cmd, list, func(w io.Writer) error { return showAuth(w, list, time.Now()) })
		},
	}
}

func showAuth(w io.Writer, list []credentials.Shown, now time.Time) error {
	t := columns(w)
	fmt.Fprintln(t, "ROLE\tKIND\tVALUE\tEXPIRES\t")
	for _, i := range list {
		note, expires := "", ""
		if i.Expires != nil {
			left := i.Expires.Sub(now)
			expires = fmt.Sprintf("%s (%d days)", i.Expires.Format(time.DateOnly), int(left.Hours()/24))
			if left < subjects.ExpiresSoon {
				note = "rotate it"
			}
		}
		if i.Old {
			note = "old: retire it once nobody uses it"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Role, i.Kind, i.Value, expires, note)
	}
	return t.Flush()
}

func newAuthRotate(g *global) *cobra.Command {
	var hosts []string
	cmd := &cobra.Command{
		Use: "rotate DIR ROLE", Args: cobra.ExactArgs(2),
		Short: "Make new credentials for a role (or ca, the authorities), beside those in use",
		Long: `Make new credentials for a role, beside those in use, which count until they are
retired. With ca instead of a role: new authorities, which sign from then on.

It says what to do then; a cluster that is told so loses no request.`,
		Example: `  kumoctl auth rotate ./credentials gateway
  kumoctl auth rotate ./credentials server --hosts svr4
  kumoctl auth rotate ./credentials ca`,
		ValidArgs: authNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, what := args[0], args[1]
			if err := knownRole(what); err != nil {
				return err
			}
			s, err := credentials.Open(dir, time.Now())
			if err != nil {
				return err
			}
			s.AddHosts(hosts)
			if err := s.Rotate(what); err != nil {
				return err
			}
			return g.print(cmd, map[string]string{"dir": dir, "rotated": what}, func(w io.Writer) error {
				text := rotateText
				if what == credentials.Authorities {
					text = rotateCAText
				}
				_, err := fmt.Fprintf(w, text, dir, what)
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "further names and addresses that certificates are for from now on")
	return cmd
}

const rotateText = `There are new credentials in %[1]s/%[2]s; the old ones count, too. In this order:

  1. copy %[1]s/manager/identities to every manager, and to every server (it is the same
     for both), and send each of them SIGHUP
  2. copy %[1]s/%[2]s to where it is used, and send each daemon there SIGHUP
  3. kumoctl auth retire %[1]s %[2]s
`

const rotateCAText = `There are new authorities; the old ones count, too. In this order:

  1. copy the files ca.crt and mesh-ca.crt of each role's folder to where it is used, and
     send each daemon SIGHUP
  2. kumoctl auth rotate %[1]s ROLE for every role, as it says
  3. kumoctl auth retire %[1]s %[2]s, and step 1 again
`

func newAuthRetire(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "retire DIR ROLE", Args: cobra.ExactArgs(2),
		Short: "Have only the newest credentials of a role (or ca) count",
		Long: `Have only the newest credentials of a role count, or with ca only the newest
authorities. Managers and servers close the connections of the others once they have
read the list again.`,
		Example:   "  kumoctl auth retire ./credentials gateway",
		ValidArgs: authNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, what := args[0], args[1]
			if err := knownRole(what); err != nil {
				return err
			}
			s, err := credentials.Open(dir, time.Now())
			if err != nil {
				return err
			}
			n, err := s.Retire(what)
			if err != nil {
				return err
			}
			return g.print(cmd, map[string]any{"dir": dir, "retired": n}, func(w io.Writer) error {
				if n == 0 {
					_, err := fmt.Fprintf(w, "Nothing of %s is old\n", what)
					return err
				}
				text := "%d of %s retired. " + identitiesText
				if what == credentials.Authorities {
					text = "%d of %s retired. Copy ca.crt and mesh-ca.crt of each role's folder in %s to where it is used, and send each daemon SIGHUP\n"
				}
				_, err := fmt.Fprintf(w, text, n, what, dir)
				return err
			})
		},
	}
}

const identitiesText = "Copy %s/manager/identities to every manager and every server, and send each of them SIGHUP\n"

// knownRole refuses what is none of authNames.
func knownRole(what string) error {
	if names := authNames(); !slices.Contains(names, what) {
		return cli.Usagef("no role is called %q: there are %s", what, strings.Join(names, ", "))
	}
	return nil
}

func authNames() []string {
	list := []string{credentials.Authorities}
	for _, r := range subjects.IdentityRoles {
		list = append(list, string(r))
	}
	return list
}

func newAuthPassword(g *global) *cobra.Command {
	remove := false
	cmd := &cobra.Command{
		Use: "password DIR ROLE NAME", Args: cobra.ExactArgs(3),
		Short: "Let a program that knows no NKeys come with a name and a password",
		Long: `Let a program that knows no NKeys come with a name and a password, which is read
from standard input (12 characters or more) and kept as bcrypt's hash. It needs a
certificate of a role's folder all the same. Managers and servers have none.`,
		Example: `  kumoctl auth password ./credentials observer dashboard < password.txt
  kumoctl auth password ./credentials observer dashboard --remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := credentials.Open(args[0], time.Now())
			if err != nil {
				return err
			}
			password := ""
			if !remove {
				if password, err = readPassword(cmd); err != nil {
					return err
				}
			}
			if err := s.SetPassword(args[1], args[2], password); err != nil {
				return err
			}
			return g.print(cmd, map[string]string{"dir": args[0], "role": args[1], "name": args[2]}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, identitiesText, args[0])
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take it back")
	return cmd
}

// readPassword reads a line, unseen if somebody types it.
func readPassword(cmd *cobra.Command) (string, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", cli.Usagef("want the password on standard input (%w)", err)
	}
	return line, nil
}
