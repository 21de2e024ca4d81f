package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"isthmus.dev/sandbox/image"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Add and list container images"}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "add REF DIR",
			Short: "Add a directory with an image.json as an image; pods name it REF",
			Args:  cobra.ExactArgs(2),
			RunE: func(_ *cobra.Command, args []string) error {
				if _, err := a.dir.Load(); err != nil {
					return err
				}
				img, err := image.NewStore(a.dir.Images()).Add(args[0], args[1])
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s %s\n", img.Ref, img.ID)
				return nil
			},
		},
		&cobra.Command{
			Use:   "list",
			Short: "List the images",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				if _, err := a.dir.Load(); err != nil {
					return err
				}
				imgs, err := image.NewStore(a.dir.Images()).List()
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
				fmt.Fprintln(w, "REF\tID\tSIZE")
				for _, i := range imgs {
					fmt.Fprintf(w, "%s\t%.19s\t%d MB\n", i.Ref, i.ID, i.Size>>20)
				}
				return w.Flush()
			},
		},
	)
	return cmd
}
