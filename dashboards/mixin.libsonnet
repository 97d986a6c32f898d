// A monitoring mixin (https://monitoring.mixins.dev) of the very files beside it. Alerts and rules are YAML: std.parseYaml needs
// jsonnet 0.18 or newer.
{
  local dashboards = {
    'martlet-observatory.json': import 'grafana/dashboards/martlet-observatory.json',
    'martlet-worm.json': import 'grafana/dashboards/martlet-worm.json',
    'martlet-port.json': import 'grafana/dashboards/martlet-port.json',
    'martlet-populations.json': import 'grafana/dashboards/martlet-populations.json',
    'martlet-sensors.json': import 'grafana/dashboards/martlet-sensors.json',
    'martlet-collector.json': import 'grafana/dashboards/martlet-collector.json',
  },
  grafanaDashboards+:: dashboards,
  prometheusRules+:: std.parseYaml(importstr 'prometheus/rules/martlet-recording.yml'),
  prometheusAlerts+:: std.parseYaml(importstr 'prometheus/rules/martlet-alerts.yml'),
}
