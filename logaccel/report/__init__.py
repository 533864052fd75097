"""Tables, text, HTML, CSV and figures of results. Only `plots` loads matplotlib."""
