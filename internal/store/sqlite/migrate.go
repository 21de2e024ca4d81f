package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to date: each file of migrations, in the order of their names, once, and all of them
// in one transaction. A file that was ever released does not change any more.
func migrate(ctx context.Context, conn *sql.Conn) error {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := migrateFiles(ctx, conn, files); err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

func migrateFiles(ctx context.Context, conn *sql.Conn, files []string) error {
	_, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS version (version INTEGER NOT NULL)")
	if err != nil {
		return err
	}
	var have int
	err = conn.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM version").Scan(&have)
	if err != nil {
		return err
	}
	if have > len(files) {
		return fmt.Errorf("its tables have version %d, and this program knows versions up to %d: use a newer program", have, len(files))
	}
	for i, name := range files[have:] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, string(text)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := conn.ExecContext(ctx, "INSERT INTO version VALUES (?)", have+i+1); err != nil {
			return err
		}
	}
	return nil
}
