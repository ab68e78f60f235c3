const $ = id => document.getElementById(id);
const keyHeader = () => $("key").value ? {"X-API-Key": $("key").value} : {};

async function updateTraffic() {
  try {
    const response = await fetch("v1/recent", {headers: keyHeader()});
    if (response.status === 401) $("key-prompt").hidden = false;
    if (response.ok) {
      const recent = await response.json();
      const figures = [`${recent.requests_per_s.toFixed(1)} requests/s`, `${recent.requests} requests`,
                       `${recent.failed} failed`];
      if (recent.degraded) figures.push(`${recent.degraded} degraded`);
      if (recent.p50_ms !== null)
        figures.push(`p50 ${recent.p50_ms.toFixed(1)} ms`, `p95 ${recent.p95_ms.toFixed(1)} ms`);
      const spans = figures.map(text => Object.assign(document.createElement("span"), {textContent: text}));
      $("traffic").replaceChildren(...spans);
    } else $("traffic").textContent = `not available (${response.status})`;
  } catch { $("traffic").textContent = "the server cannot be reached"; }
  setTimeout(updateTraffic, 2000);
}
