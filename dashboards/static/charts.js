// What charts gain from a script: point at a line and read its figures, zoom with Ctrl and the wheel, drag, and a double
// click shows all again. The picture drawn on the server stays for paper and for readers without a script.
"use strict";

(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = new Map();

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ["ink", "soft", "edge", "paper", "p50", "p95", "good", "before", "shade"];
    return Object.fromEntries(names.map((name) => [name, colour(name)]));
  }

  function around(data, c) {
    // Level lines, deployments and the spans of alerts, which belong to no line.
    const dashed = { color: c.soft, type: "dashed" };
    const level = data.level ? [{ yAxis: data.level.at, name: data.level.name, label: { position: "insideStartTop" } }] : [];
    const marks = data.marks.map(([at, name]) => ({ xAxis: at, name, label: { position: "insideEndTop", rotate: 0, overflow: "truncate", width: 120 } }));
    return {
      markLine: { silent: true, symbol: "none", lineStyle: dashed, label: { color: c.soft, formatter: (one) => one.name }, data: [...level, ...marks] },
      markArea: { silent: true, itemStyle: { color: c.shade, opacity: 0.6 }, data: data.shades.map(([from, to]) => [{ xAxis: from }, { xAxis: to }]) },
    };
  }

  function band(found, c) {
    // What is usual, as rectangles that share their edges: from point to point, or around each point.
    if (!found) return [];
    const edge = (place) => found.steps ? found.at[place] : Math.sqrt(found.at[place] * found.at[Math.max(place - 1, 0)]);
    const end = (place) => {
      if (found.steps) return found.at[place] + 3600000;
      return Math.sqrt(found.at[place] * found.at[Math.min(place + 1, found.at.length - 1)]);
    };
    const data = found.at.map((_, place) => [{ coord: [edge(place), found.low[place]] }, { coord: [end(place), found.high[place]] }]);
    return [{ type: "line", name: found.name, data: [], silent: true, markArea: { silent: true, itemStyle: { color: c.p50, opacity: 0.14 }, data } }];
  }

  function options(data) {
    const c = colours();
    const colour = { p50: c.p50, p95: c.p95, good: c.good, after: c.p50, before: c.before };
    const seconds = (value) => value < 0.1 && value !== 0 ? `${+(value * 1000).toPrecision(3)}${data.units.ms}` : `${+value.toPrecision(3)}${data.units.s}`;
    const percent = (value) => `${+(value * 100).toPrecision(6)}${data.units["%"]}`;
    const written = data.y === "ratio" ? percent : seconds;
    const axis = { axisLabel: { color: c.soft, fontSize: 12, hideOverlap: true }, axisLine: { lineStyle: { color: c.edge } } };
    const x = data.x === "time"
      ? { type: "time", ...axis, splitLine: { show: false }, axisLabel: { ...axis.axisLabel, formatter: { year: "{yyyy}", month: "{MM}-{dd}", day: "{MM}-{dd}", hour: "{HH}:{mm}", minute: "{HH}:{mm}", second: "{HH}:{mm}:{ss}" } } }
      : { type: "log", logBase: 2, ...axis, min: data.at[0], max: data.at[data.at.length - 1], splitLine: { show: false }, axisLabel: { ...axis.axisLabel, formatter: seconds, showMinLabel: false, showMaxLabel: false } };
    return {
      useUTC: true, // times are the bank's wall clock
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { left: 8, right: 14, top: 24, bottom: 8, containLabel: true },
      tooltip: {
        trigger: "axis",
        renderMode: "richText", // no markup: the pages' policy lets no inline style in
        confine: true,
        backgroundColor: c.paper,
        borderColor: c.edge,
        textStyle: { color: c.ink, fontSize: 12 },
        axisPointer: { type: "line", lineStyle: { color: c.soft } },
        formatter: (found) => {
          const shown = found.filter((one) => one.seriesIndex < data.series.length);
          const at = shown.length ? shown[0].dataIndex : -1;
          if (at < 0) return "";
          const lines = shown.map((one) => `${one.seriesName}  ${data.series[one.seriesIndex].said[one.dataIndex]}`);
          return [data.said[at], ...lines].join("\n");
        },
      },
      dataZoom: [{ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false, filterMode: "none" }],
      xAxis: x,
      yAxis: { type: "value", ...axis, min: data.range[0], max: data.range[1], interval: (data.range[1] - data.range[0]) / 4, splitLine: { lineStyle: { color: c.edge } }, axisLabel: { ...axis.axisLabel, formatter: written } },
      series: [...data.series.map((one, number) => ({
        type: "line",
        name: one.name,
        showSymbol: data.at.length < 3,
        symbolSize: 5,
        connectNulls: false,
        color: colour[one.kind] || c.ink,
        lineStyle: { width: 2, type: one.kind === "before" ? "dashed" : "solid" },
        data: data.at.map((at, place) => [at, one.values[place]]),
        ...(number === 0 ? around(data, c) : {}),
      })), ...band(data.band, c)],
    };
  }

  function enhance(figure) {
    const source = figure.querySelector("script.chart-data");
    const picture = figure.querySelector("svg");
    if (source === null || picture === null || figure.querySelector(".echart") !== null) return;
    const data = JSON.parse(source.textContent);
    if (data.at.length === 0) return;
    const place = document.createElement("div");
    place.className = "echart";
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", picture.getAttribute("aria-label"));
    figure.append(place);
    figure.classList.add("enhanced");
    const chart = echarts.init(place, null, { renderer: "canvas" });
    const draw = () => chart.setOption(options(data), true);
    draw();
    chart.getZr().on("dblclick", () => chart.dispatchAction({ type: "dataZoom", start: 0, end: 100 }));
    const observer = new ResizeObserver(() => { if (place.clientWidth > 0) { chart.resize(); draw(); } });
    observer.observe(place);
    charts.set(figure, { draw, end: () => { observer.disconnect(); chart.dispose(); } });
  }

  function all() {
    for (const [figure, chart] of charts) {
      if (!figure.isConnected) { chart.end(); charts.delete(figure); }
    }
    document.querySelectorAll("figure.chart").forEach(enhance);
  }

  function begin() {
    all();
    new MutationObserver(all).observe(document.body, { childList: true }); // a page that brings itself up to date
    const content = document.getElementById("content");
    if (content !== null && content.parentNode !== document.body) new MutationObserver(all).observe(content.parentNode, { childList: true });
    dark.addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  }

  if (typeof echarts === "undefined") {
    // On a page: the library is loaded only where there is a chart.
    if (document.querySelector("script.chart-data") === null) return;
    const library = document.createElement("script");
    library.src = "/static/echarts.common.min.js";
    library.addEventListener("load", begin);
    document.head.append(library);
  } else {
    begin();
  }
})();
