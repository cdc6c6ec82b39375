// What filters a page of one table: its keys.

const FILTERS = Object.fromEntries([...content.panel, ...content.down, ...content.across].map((name) => [name, {
  label: content.columns.find((column) => column.name === name).label,
  value: (row) => row[name],
}]));
