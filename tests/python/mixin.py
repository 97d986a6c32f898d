"""What the mixin evaluates to, as JSON. usage: mixin.py FILE"""

import json
import sys

import _jsonnet

wanted = "{dashboards: mixin.grafanaDashboards, rules: mixin.prometheusRules, alerts: mixin.prometheusAlerts}"
print(json.dumps(json.loads(_jsonnet.evaluate_snippet("mixin", f"local mixin = import {json.dumps(sys.argv[1])}; {wanted}"))))
