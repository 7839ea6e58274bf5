// Loads other ranges for ever into the catalog named on the command line, and prints a line in every turn of the event
// loop, so that whoever kills it hits it between the transactions of one range.
import { openCatalog } from '../../src/catalog/open-catalog.js';
import { FakeTrees, imageEntries } from './fake-trees.js';

const [, , path = ''] = process.argv;
const trees = new FakeTrees();
const catalog = openCatalog(path, trees);
for (let round = 0; ; round++) {
  const entries = imageEntries(10_000).map((entry) => ({ ...entry, uid: process.pid, gid: round }));
  const tree = await catalog.tree('killed', trees.publish(entries));
  const loaded = tree.lookup(entries[0]?.dir ?? '', entries[0]?.name ?? '');
  let loading = true;
  const tell = () => {
    process.stdout.write(`${round}\n`);
    if (loading) setImmediate(tell);
  };
  tell();
  await loaded;
  loading = false;
}
