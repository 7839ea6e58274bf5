import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';

/** How much is staged, by a look into stage.db. */
export function stagedRows(stateDir: string): { inodes: number; dirents: number } {
  const db = new BetterSqlite3(join(stateDir, 'stage.db'), { readonly: true });
  try {
    const countOf = (table: string): number =>
      db.prepare<[], { n: number }>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? 0;
    return { inodes: countOf('inode'), dirents: countOf('dirent') };
  } finally {
    db.close();
  }
}
