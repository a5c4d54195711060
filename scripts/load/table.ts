/** A line of results: column → value; the unit is part of the column's name. */
export type Row = Readonly<Record<string, string | number>>;

/** The results of a scenario. */
export interface Table {
  readonly title: string;
  readonly rows: readonly Row[];
}

/** A Markdown table that is as easy to read as it stands. */
export function render({ title, rows }: Table): string {
  const columns = Object.keys(rows[0] ?? {});
  const cells = rows.map((row) => columns.map((column) => formatCell(row[column] ?? '')));
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const line = (values: readonly string[]) =>
    `| ${values.map((value, index) => value.padStart(widths[index] ?? 0)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => `${'-'.repeat(width - 1)}:`).join(' | ')} |`;
  return [`${title}`, '', line(columns), rule, ...cells.map(line)].join('\n');
}

/** Three significant digits below a thousand, whole numbers with grouped digits above. */
function formatCell(value: string | number): string {
  if (typeof value === 'string') return value;
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return Number(value.toPrecision(3)).toString();
}
