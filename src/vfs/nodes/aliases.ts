import type { Artifact } from '../../artifacts/ports.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { RequestContext } from '../file-system.js';
import type { Node, RenameFlags } from '../node.js';
import { shownIno } from '../shown-ino.js';
import { errorText } from '../text/error.js';
import { ComputedDirectory, type ControlHome, ControlLink, type ControlNumber } from './control.js';

/** Aliases have numbers of their own above these. */
const aliasNumbers = 2 ** 32;

/** What programs call a link that they rename into place at once: `ln -sf`, and what begins with a dot. No alias is called so. */
const placeholder = /^(\.|Cu[0-9A-Za-z]{6}$)/;

/**
 * `.artifact/aliases/`: one symlink for each alias. A link that is made, renamed or removed is an alias that is moved for
 * everybody, as long as it stands where it is shown here.
 */
export class AliasesDirectory extends ComputedDirectory {
  readonly #artifact: Artifact;
  /** Placeholders and their versions; nobody else sees them. */
  readonly #placeholders: Map<string, number>;

  constructor(home: ControlHome, number: ControlNumber, artifact: Artifact) {
    const placeholders = placeholdersOf(artifact);
    const links = new Map<string, ControlLink>();
    const find = (alias: string): Node | undefined => {
      const version = placeholders.get(alias) ?? shown(artifact, alias);
      if (version === null) return undefined;
      const key = `${version}/${alias}`;
      let link = links.get(key);
      if (link === undefined) {
        link = new ControlLink(home, numberOf(alias), `../versions/v${version}`, () => links.delete(key));
        links.set(key, link);
      }
      return link;
    };
    super(home, number, {
      kind: 'symlink',
      mayWrite: true,
      names: () => [...Object.keys(artifact.aliases()), ...placeholders.keys()],
      find,
      inoOf: (alias) => shownIno(home.inos, numberOf(alias)),
    });
    this.#artifact = artifact;
    this.#placeholders = placeholders;
  }

  override async symlink(_context: RequestContext, name: string, target: string): Promise<Node> {
    if ((await this.lookup(name)) !== undefined) throw new ArtifactError('Exists', `${name} exists`);
    await this.#told(async () => {
      const version = versionIn(target);
      if (placeholder.test(name)) this.#keep(name, this.#artifact.resolveVersion(version).version);
      else await this.#artifact.setAlias(name, version, null);
    });
    const link = await this.lookup(name);
    // Somebody else may have removed it since.
    if (link === undefined) throw new ArtifactError('NotFound', `${name} was removed by somebody else`);
    return link;
  }

  override async unlink(name: string): Promise<void> {
    if (this.#placeholders.delete(name)) return;
    const version = this.#shown(name);
    await this.#told(() => this.#artifact.setAlias(name, null, version));
  }

  override async rename(name: string, target: Node, newName: string, flags: RenameFlags): Promise<void> {
    if (!(target instanceof AliasesDirectory) || target.#artifact !== this.#artifact)
      throw this.refusal(name);
    if (flags.exchange) throw new ArtifactError('Invalid', 'aliases are not exchanged');
    const version = this.#placeholders.get(name) ?? this.#shown(name);
    const before = shown(this.#artifact, newName);
    if (flags.noReplace && before !== null) throw new ArtifactError('Exists', `${newName} exists`);
    if (name === newName) return;
    await this.#told(async () => {
      await this.#artifact.setAlias(newName, `v${version}`, before);
      if (!this.#placeholders.delete(name)) await this.#artifact.setAlias(name, null, version);
    });
  }

  /** As it is shown; where it stands now must be the same. */
  #shown(alias: string): number {
    const version = shown(this.#artifact, alias);
    if (version === null) throw new ArtifactError('NotFound', `there is no alias ${alias}`);
    return version;
  }

  #keep(name: string, version: number): void {
    if (this.#placeholders.size >= limits.aliasPlaceholdersMax)
      throw new ArtifactError('NoSpace', 'too many links wait for the name of an alias', {
        hint: 'remove those that are left in .artifact/aliases',
      });
    this.#placeholders.set(name, version);
  }

  /** What fails is kept as `last-error`. */
  async #told(act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#artifact.setLastError(errorText(error));
      throw error;
    }
    this.#artifact.setLastError('');
  }
}

/** They outlive the directory, which is made anew when the kernel has forgotten it. */
const allPlaceholders = new WeakMap<Artifact, Map<string, number>>();

function placeholdersOf(artifact: Artifact): Map<string, number> {
  const known = allPlaceholders.get(artifact) ?? new Map<string, number>();
  allPlaceholders.set(artifact, known);
  return known;
}

function shown(artifact: Artifact, alias: string): number | null {
  const aliases = artifact.aliases();
  return Object.hasOwn(aliases, alias) ? (aliases[alias] ?? null) : null;
}

/** `v3`, `latest`, an alias, or what the links here lead to: `../versions/v3`. */
function versionIn(target: string): string {
  const version = /^(?:\.\.\/versions\/)?([^/]+)\/?$/.exec(target)?.[1];
  if (version !== undefined && !version.startsWith('.')) return version;
  throw new ArtifactError('Invalid', `an alias leads to no version by ${JSON.stringify(target)}`, {
    hint: 'link to the version: ln -sfn v3 .artifact/aliases/best',
  });
}

function numberOf(alias: string): number {
  let hash = 0;
  for (const byte of Buffer.from(alias)) hash = (Math.imul(hash, 31) + byte) >>> 0;
  return aliasNumbers + hash;
}
