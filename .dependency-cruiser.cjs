// The layers of doc/ARCHITECTURE.md as data: a folder may import only the folders it lists.
const base = ['model', 'util'];
const layers = {
  model: [],
  util: ['model'],
  log: base,
  store: base,
  workspace: [...base, 'store'],
  catalog: [...base, 'workspace'],
  content: [...base, 'store'],
  archive: [...base, 'store', 'workspace', 'content'],
  artifacts: [...base, 'store', 'workspace', 'catalog', 'content'],
  vfs: [...base, 'workspace', 'catalog', 'content', 'artifacts'],
  fuse: [...base, 'vfs'],
  'fuse-native': [...base, 'vfs', 'fuse'],
  http: [...base, 'workspace', 'catalog', 'content', 'artifacts'],
  config: base,
  app: [
    'model',
    'util',
    'log',
    'store',
    'workspace',
    'catalog',
    'content',
    'archive',
    'artifacts',
    'vfs',
    'fuse',
    'fuse-native',
    'http',
    'config',
  ],
  // http: the client of the control API; the server is reached only through app.
  cli: [...base, 'config', 'app', 'log', 'http'],
};
const layerRules = Object.entries(layers).map(([name, allowed]) => ({
  name: `layer-${name}`,
  severity: 'error',
  comment: `src/${name} may import only: ${allowed.join(', ') || 'nothing of ours'}`,
  from: { path: `^src/${name}/` },
  to: { path: '^src/', pathNot: `^src/(${[name, ...allowed].join('|')})/` },
}));
// What the floors of content/ may not know.
const above = { local: 'cache|read|upload', cache: 'read|upload', read: 'upload', upload: 'read' };
const contentRules = Object.entries(above).map(([name, unknown]) => ({
  name: `content-${name}`,
  severity: 'error',
  from: { path: `^src/content/${name}/` },
  to: { path: `^src/content/(${unknown})/` },
}));
// A package has one home, so that replacing it is a change of one folder.
const homes = {
  '@aws-sdk': 'store/s3',
  'better-sqlite3': 'util',
  'lru-cache': 'content|catalog|workspace',
  pino: 'log',
  fastify: 'http',
  '@fastify/swagger': 'http',
  '@sinclair/typebox': 'http',
  yargs: 'cli|config',
  'cli-progress': 'cli',
  'tar-stream': 'archive',
};
const packageRules = Object.entries(homes).map(([pkg, home]) => ({
  name: `home-of-${pkg}`,
  severity: 'error',
  from: { path: '^src/', pathNot: `^src/(${home})/` },
  to: { path: `node_modules/${pkg}(/|$)`, dependencyTypesNot: ['type-only'] },
}));
module.exports = {
  forbidden: [
    ...layerRules,
    ...contentRules,
    {
      name: 'shared-by-drivers',
      severity: 'error',
      comment:
        'of our own driver, the other one uses what is about mounting and about errors, and nothing of the protocol',
      from: { path: '^src/fuse-native/' },
      to: {
        path: '^src/fuse/',
        pathNot:
          '^src/fuse/(device|errno|kernel-settings|mount-options|mount-point|mount-table|mounted-file-system|unmount|protocol/(attributes|refusal))\\.ts$',
      },
    },
    ...packageRules,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'types'],
    },
  },
};
