/* cxgauge: times a step until its answer is on the screen. docs/how-to/browser.md. Apache-2.0 */
((w, d) => {
	const set = d.currentScript ? d.currentScript.dataset : {}, queue = [], open = new Set();
	const now = () => performance.now() / 1e3, media = "img,svg,canvas,video,input";
	let timer;

	// Laid out, visible, with something to read or see.
	const shown = css => [...d.querySelectorAll(css)].some(e => {
		const r = e.getBoundingClientRect(), s = getComputedStyle(e);
		return r.width * r.height > 0 && r.right > 0 && r.bottom > 0 && s.visibility == "visible" && s.opacity > 0 &&
			(e.textContent.trim() || e.matches(media) || e.querySelector(media));
	});
	const random = () => crypto.getRandomValues(new Uint8Array(16)).reduce((t, b) => t + (b + 256).toString(16).slice(1), "");
	const instance = (flow, fresh) => {
		const key = "cxgauge." + flow, made = random();
		try {
			return sessionStorage[key] = !fresh && sessionStorage[key] || made;
		} catch (e) { return made; }
	};
	const flush = () => {
		timer = clearTimeout(timer);
		while (queue.length) {
			const at = now(), url = `${set.url || ""}/v1/observations${set.token ? "?token=" + set.token : ""}`;
			const body = JSON.stringify(queue.splice(0, 50).map(([o, t]) => ({ ...o, age_seconds: at - t })));
			if (!navigator.sendBeacon(url, new Blob([body], { type: "text/plain" })))
				fetch(url, { method: "POST", body, keepalive: true, mode: "no-cors" }).catch(() => 0);
		}
	};
	const step = (flow, name, { since, ...more } = {}) => {
		const start = since == null ? now() : since / 1e3;
		const base = { flow, step: name, instance: instance(flow), id: random(), ...more };
		const me = {
			end(extra, at = now()) {
				if (!open.delete(me)) return;
				queue.push([{ ...base, duration_seconds: at - start, ...extra }, at]);
				timer = timer || setTimeout(flush, 1e3);
			},
			leave: () => me.end({ verdict: "abandoned" }),
			// Ends when `css` is on the screen; a check passes when its selector is, within `grace` seconds.
			until(css, checks = {}, { timeout = 30, grace = 2 } = {}) {
				let at;
				const judge = () => Object.fromEntries(Object.keys(checks).map(n => [n, shown(checks[n]) ? "pass" : "fail"]));
				const look = () => {
					if (!open.has(me)) return;
					const t = now(), found = judge();
					if (!at && shown(css)) {
						at = t;
						me.leave = () => me.end({ checks: judge() }, at);
					}
					if (at && (t > at + grace || !Object.values(found).includes("fail"))) me.end({ checks: found }, at);
					else if (!at && t > start + timeout) me.end({ verdict: "timeout" });
					else requestAnimationFrame(() => setTimeout(look)); // after paint
				};
				look();
				return me;
			}
		};
		open.add(me);
		return me;
	};
	const leave = () => {
		open.forEach(p => p.leave());
		flush();
	};
	d.addEventListener("visibilitychange", () => d.visibilityState == "hidden" && leave());
	w.addEventListener("pagehide", leave);
	w.cxgauge = { step, instance, flush };
})(window, document);
