"""From a raw set to identity groups: extraction, filters, selection."""
