// What readers set once for all pages, such as their prices.
window.vlmnbKept = {
  get: (name) => {
    try {
      return localStorage.getItem(`vlmnb-${name}`);
    } catch {
      return null; // no storage for pages opened as files
    }
  },
  set: (name, value) => {
    try {
      if (!value) localStorage.removeItem(`vlmnb-${name}`);
      else localStorage.setItem(`vlmnb-${name}`, value);
    } catch {
      // shown all the same
    }
  },
};
