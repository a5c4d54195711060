/** A section of an INI file: its keys, lower-cased, with their values. */
export type IniSections = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** What is wrong with a text that is no INI file, and in which line. */
export class IniError extends Error {
  override readonly name = 'IniError';
}

const SECTION = /^\[([^\]]+)\]$/;

/**
 * Reads an INI file as Python's configparser does: `key = value` or `key: value` below `[section]`, comments on lines of
 * their own that begin with `#` or `;`, indented lines that carry a value on.
 * @throws {IniError}
 */
export function parseIni(text: string): IniSections {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  let key: string | undefined;
  for (const [index, raw] of text.split(/\r\n|\r|\n/).entries()) {
    const line = raw.trim();
    const fail = (problem: string) => new IniError(`line ${index + 1}: ${problem}`);
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const isIndented = /^\s/.test(raw);
    if (isIndented && section !== undefined && key !== undefined) {
      section.set(key, `${section.get(key)}\n${line}`);
      continue;
    }
    const name = SECTION.exec(line)?.[1]?.trim();
    if (name !== undefined) {
      if (sections.has(name)) throw fail(`the section [${name}] is there twice`);
      section = new Map();
      key = undefined;
      sections.set(name, section);
      continue;
    }
    if (section === undefined) throw fail('a section such as [web] has to come first');
    const end = line.search(/[=:]/);
    if (end < 1) throw fail('neither a section nor `key = value`');
    key = line.slice(0, end).trimEnd().toLowerCase();
    if (section.has(key)) throw fail(`${key} is there twice`);
    section.set(key, line.slice(end + 1).trimStart());
  }
  return sections;
}
