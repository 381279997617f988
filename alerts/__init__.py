"""From deviation to message: evaluation, alert lifecycle, attribution, notifiers."""
