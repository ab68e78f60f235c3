// What is wrong with the page as it is shown now: a list of texts.
() => {
  const faults = [], width = document.documentElement.clientWidth, edge = 0.5;
  const CONTRAST = 4.5, LARGE_CONTRAST = 3, LARGE = 24;  // WCAG 2.2, 1.4.3; LARGE in CSS pixels
  const fault = (element, text) => {
    const about = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
    faults.push(`<${element.tagName.toLowerCase()}> "${about}": ${text}`);
  };
  const style = element => getComputedStyle(element);
  const isShown = element => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length;
  const channels = color => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return {rgb: [red, green, blue], alpha};
  };
  const luminance = rgb => rgb.map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((total, value, index) => total + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const {rgb, alpha} = channels(style(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const contrast = element => {
    const [light, dark] = [channels(style(element).color).rgb, ground(element)].map(luminance).sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const scrolls = element => ["auto", "scroll"].includes(style(element).overflowX);
  const isInScrollBox = element => {
    for (let at = element.parentElement; at; at = at.parentElement) if (scrolls(at)) return true;
    return false;
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());

  if (document.documentElement.scrollWidth > width) faults.push(`the page is wider than ${width} px`);
  if (!document.documentElement.lang || !document.title) faults.push("the page has no language or no title");
  if (document.querySelectorAll("h1").length !== 1) faults.push("the page has no heading, or several");
  for (const element of document.body.querySelectorAll("*")) {
    if (!isShown(element)) continue;
    const box = element.getBoundingClientRect();
    if (!isInScrollBox(element) && (box.right > width + edge || box.left < -edge)) fault(element, "beyond the edge");
    if (style(element).overflowX === "hidden" && element.scrollWidth > element.clientWidth) fault(element, "cut off");
    if (hasText(element)) {
      const needed = parseFloat(style(element).fontSize) >= LARGE ? LARGE_CONTRAST : CONTRAST;
      if (contrast(element) < needed) fault(element, `contrast ${contrast(element).toFixed(2)}`);
    }
  }
  for (const image of document.images) {
    if (!isShown(image)) continue;
    if (!image.alt.trim()) fault(image, "no text in place of the picture");
    if (!image.complete || !image.naturalWidth) fault(image, "not loaded");
  }
  for (const input of document.querySelectorAll("input, select, textarea, button")) {
    const names = [...(input.labels || [])].map(label => label.textContent).join("") + (input.ariaLabel || "");
    if (isShown(input) && !names.trim() && !input.textContent.trim()) fault(input, `#${input.id} has no label`);
  }
  return faults;
}
