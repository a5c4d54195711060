/** A section of an INI file: its keys, lower-cased, with their values. */
export type IniSections = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** What is wrong with a text that is no INI file, and in which line. */
export class IniError extends Error {
  override readonly name = 'IniError';
}

/** Reading more would hold up everybody else: a fleet of 500 deckies with their configurations takes a few thousand. */
const MAX_LINES = 6000;

/**
 * Reads an INI file as Python's configparser does: `key = value` or `key: value` below `[section]`, comments on lines of
 * their own that begin with `#` or `;`, indented lines that carry a value on.
 * @throws {IniError}
 */
export function parseIni(text: string): IniSections {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  let key: string | undefined;
  const lines = text.split(/\r\n|\r|\n/, MAX_LINES + 1);
  if (lines.length > MAX_LINES) throw new IniError(`more than ${MAX_LINES} lines`);
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    const isBlank = line === '' || line.startsWith('#') || line.startsWith(';');
    if (isBlank) continue;
    if (section !== undefined && key !== undefined && line[0] !== raw[0]) {
      section.set(key, `${section.get(key)}\n${line}`);
    } else if (line.startsWith('[') && line.endsWith(']')) {
      section = new Map();
      key = undefined;
      addSection(sections, line.slice(1, -1).trim(), section, index);
    } else {
      if (section === undefined) throw wrong(index, 'a section such as [web] has to come first');
      key = addEntry(section, line, index);
    }
  }
  return sections;
}

function addSection(
  sections: Map<string, Map<string, string>>,
  name: string,
  section: Map<string, string>,
  index: number,
): void {
  if (name === '') throw wrong(index, 'a section needs a name');
  if (sections.has(name)) throw wrong(index, `the section [${name}] is there twice`);
  sections.set(name, section);
}

/** @returns the key */
function addEntry(section: Map<string, string>, line: string, index: number): string {
  const end = line.search(/[=:]/);
  if (end < 1) throw wrong(index, 'neither a section nor `key = value`');
  const key = line.slice(0, end).trimEnd().toLowerCase();
  if (section.has(key)) throw wrong(index, `${key} is there twice`);
  section.set(key, line.slice(end + 1).trimStart());
  return key;
}

const wrong = (index: number, problem: string) => new IniError(`line ${index + 1}: ${problem}`);
