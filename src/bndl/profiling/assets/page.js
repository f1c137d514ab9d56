"use strict";
// The report of a CPU profile. Figures come in cells, one for each stage and worker; what is shown is the sum of those
// that are chosen. A tree node is [function, seconds, seconds before or null, children].
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const ALL = "all";
const MOST_ROWS = 200;
const DIFF = data.kind === "diff";
const COLUMNS = DIFF
  ? [["name", "function"], ["calls", "calls"], ["before", "own before"], ["own", "own after"], ["change", "own change"]]
  : [["name", "function"], ["calls", "calls"], ["own", "own"], ["share", "own %"], ["total", "total"], ["average", "per call"]];
const state = { stage: ALL, worker: ALL, search: "", sort: DIFF ? "change" : "own", descending: true, rows: [] };
let chart = null;

function label(index) {
  const [name, path] = data.functions[index];
  return path ? `${name} (${path})` : name;
}

function seconds(value) {
  if (data.unit !== "seconds") return `${(100 * value).toFixed(2)} %`;
  const size = Math.abs(value);
  if (size >= 1 || size === 0) return `${value.toFixed(3)} s`;
  return size >= 1e-3 ? `${(value * 1e3).toFixed(3)} ms` : `${(value * 1e6).toFixed(1)} us`;
}

function chosen() {
  return data.cells.filter(
    (cell) => (state.stage === ALL || cell.stage === state.stage) && (state.worker === ALL || cell.worker === state.worker),
  );
}

function mergeTrees(cells) {
  const root = { name: ALL, value: 0, before: 0, index: -1, below: new Map() };
  const add = (node, [index, value, before, children]) => {
    let child = node.below.get(index);
    if (!child) node.below.set(index, (child = { name: label(index), value: 0, before: 0, index, below: new Map() }));
    child.value += value;
    child.before += before ?? 0;
    children.forEach((each) => add(child, each));
  };
  cells.forEach((cell) => cell.tree.forEach((node) => add(root, node)));
  for (const child of root.below.values()) {
    root.value += child.value;
    root.before += child.before;
  }
  const finish = (node) => {
    node.children = [...node.below.values()].map(finish).sort((a, b) => b.value - a.value);
    delete node.below;
    // A difference is as wide as both sides together, so that what is gone can be seen as well.
    node.delta = node.value - node.before;
    if (DIFF) node.value += node.before;
    return node;
  };
  return finish(root);
}

function mergeRows(cells) {
  const rows = new Map();
  for (const cell of cells) {
    for (const [index, calls, own, total, before] of cell.rows) {
      let row = rows.get(index);
      if (!row) rows.set(index, (row = { index, name: label(index), calls: 0, own: 0, total: 0, before: 0 }));
      row.calls += calls;
      row.own += own;
      row.total += total;
      row.before += before ?? 0;
    }
  }
  const whole = d3.sum(rows.values(), (row) => row.own) || 1;
  for (const row of rows.values()) {
    row.share = row.own / whole;
    row.average = row.calls ? row.total / row.calls : 0;
    row.change = row.own - row.before;
  }
  return [...rows.values()];
}

function colour(node) {
  if (node.highlight) return "#d81bd8";
  if (DIFF) {
    const share = node.data.value ? node.data.delta / node.data.value : 0;
    const pale = Math.round(238 * (1 - Math.min(Math.abs(share), 1)));
    return share >= 0 ? `rgb(238,${pale},${pale})` : `rgb(${pale},${pale},238)`;
  }
  if (node.data.index < 0) return "#dfe3e8";
  const path = data.functions[node.data.index][1] || "builtins";
  let hash = 0;
  for (const char of path.replace(/:\d+$/, "")) hash = (hash * 31 + char.codePointAt(0)) % 997;
  return `hsl(${(hash * 47) % 360},62%,76%)`;
}

function describe(node) {
  const share = ((100 * (node.x1 - node.x0)) || 0).toFixed(2);
  if (!DIFF) return `${node.data.name}: ${seconds(node.data.value)}, ${share} %`;
  const after = (node.data.value + node.data.delta) / 2;
  return `${node.data.name}: ${seconds(after - node.data.delta)} before, ${seconds(after)} after`;
}

function drawChart(cells) {
  const make = typeof flamegraph === "function" ? flamegraph : flamegraph.default;
  const box = byId("chart");
  if (chart) chart.destroy();
  box.replaceChildren();
  const tree = mergeTrees(cells);
  if (!tree.value) {
    box.textContent = "nothing took any time here";
    chart = null;
    return;
  }
  chart = make()
    .width(box.clientWidth || 960)
    .cellHeight(19)
    .minFrameSize(1)
    .transitionDuration(150)
    .inverted(true)
    .sort((a, b) => b.data.value - a.data.value)
    .setColorMapper(colour)
    .setLabelHandler(describe)
    .setDetailsElement(byId("details"))
    .setSearchMatch((node, term) => node.data.name.toLowerCase().includes(term.toLowerCase()))
    .setSearchHandler((_found, sum, whole) => {
      byId("found").textContent = `${seconds(sum)}, ${(100 * sum / (whole || 1)).toFixed(2)} % on the graph`;
    });
  d3.select(box).datum(tree).call(chart);
  if (state.search) chart.search(state.search);
}

function cellsOf(row) {
  const function_ = data.functions[row.index];
  const name = document.createElement("td");
  name.append(function_[0]);
  if (function_[1]) {
    const path = document.createElement("span");
    path.className = "path";
    path.textContent = `  ${function_[1]}`;
    name.append(path);
  }
  const texts = {
    calls: DIFF ? d3.format("+,")(row.calls) : row.calls ? d3.format(",")(row.calls) : "-",
    own: seconds(row.own),
    share: `${(100 * row.share).toFixed(1)} %`,
    total: seconds(row.total),
    average: row.calls ? seconds(row.average) : "-",
    before: seconds(row.before),
    change: (row.change > 0 ? "+" : "") + seconds(row.change),
  };
  const cells = COLUMNS.slice(1).map(([key]) => {
    const cell = document.createElement("td");
    cell.textContent = texts[key];
    if (key === "share") {
      cell.className = "own";
      cell.style.setProperty("--share", `${(100 * row.share).toFixed(1)}%`);
    }
    if (key === "change") cell.className = row.change > 0 ? "more" : "less";
    return cell;
  });
  return [name, ...cells];
}

function drawRows() {
  const term = state.search.toLowerCase();
  const value = (row) => (state.sort === "change" ? Math.abs(row.change) : row[state.sort]);
  const order = state.descending ? d3.descending : d3.ascending;
  const rows = state.rows.filter((row) => row.name.toLowerCase().includes(term)).sort((a, b) => order(value(a), value(b)));
  byId("rows").replaceChildren(
    ...rows.slice(0, MOST_ROWS).map((row) => {
      const line = document.createElement("tr");
      line.append(...cellsOf(row));
      return line;
    }),
  );
  byId("more").textContent = rows.length > MOST_ROWS ? `and ${rows.length - MOST_ROWS} other functions` : "";
  for (const heading of byId("head").children) {
    if (heading.dataset.key === state.sort) heading.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else heading.removeAttribute("aria-sort");
  }
}

function search(term) {
  state.search = term.trim();
  if (chart && state.search) chart.search(state.search);
  if (chart && !state.search) chart.clear();
  if (!state.search) byId("found").textContent = "";
  drawRows();
}

function draw() {
  const cells = chosen();
  state.rows = mergeRows(cells);
  drawChart(cells);
  drawRows();
}

function fillSelect(kind) {
  const names = [...new Set(data.cells.map((cell) => cell[kind]))];
  const select = byId(kind);
  select.append(new Option(`all ${names.length}`, ALL), ...names.map((name) => new Option(name, name)));
  select.addEventListener("change", () => {
    state[kind] = select.value;
    draw();
  });
  byId(`${kind}-label`).hidden = DIFF;
}

function begin() {
  byId("summary").textContent = data.summary;
  fillSelect("stage");
  fillSelect("worker");
  for (const [key, title] of COLUMNS) {
    const heading = document.createElement("th");
    heading.textContent = title;
    heading.dataset.key = key;
    heading.addEventListener("click", () => {
      state.descending = state.sort === key ? !state.descending : key !== "name";
      state.sort = key;
      drawRows();
    });
    byId("head").append(heading);
  }
  for (const line of data.footer) {
    const text = document.createElement("p");
    text.textContent = line;
    byId("footer").append(text);
  }
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("reset").addEventListener("click", () => chart && chart.resetZoom());
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      drawChart(chosen());
    }
  });
  draw();
}

begin();
