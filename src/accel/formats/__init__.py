"""Acceleration formats: what each keeps of a layer, and how images carry it. Pure functions over values; no I/O."""
