-- One Alertmanager v4 payload of 1 kB per request, each with an alert of its own: a new fingerprint, a millisecond later.
local run = os.time()
local sent = 0
local payload = table.concat({
  '{"receiver":"rollbackd","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"HighErrorRate",',
  '"service":"wemaster-staging-api","env":"staging","severity":"critical","team":"backend","cluster":"hkg-1"},',
  '"annotations":{"summary":"Error rate of wemaster-staging-api is above 1%%","description":"5xx ratio is 4.2%% for more ',
  'than 2 minutes","runbook_url":"https://example.com/runbooks/rollback"},"startsAt":"%sT%02d:%02d:%02d.%03dZ",',
  '"endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus:9090/graph?g0.expr=job%%3Aerrors%%3Aratio\\u0026g0.tab=1",',
  '"fingerprint":"%08x%08x"}],"groupLabels":{"alertname":"HighErrorRate"},"commonLabels":{"alertname":"HighErrorRate",',
  '"service":"wemaster-staging-api","env":"staging","severity":"critical"},"commonAnnotations":{"summary":"Error rate of ',
  'wemaster-staging-api is above 1%%"},"externalURL":"http://alertmanager:9093","version":"4",',
  '"groupKey":"{}:{alertname=\\"HighErrorRate\\"}","truncatedAlerts":0}',
})
local day = os.date("!%Y-%m-%d", run)

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer benchmark"

request = function()
  sent = sent + 1
  local second = math.floor(sent / 1000)
  local body = payload:format(day, math.floor(second / 3600) % 24, math.floor(second / 60) % 60, second % 60, sent % 1000,
    (sent * 2654435761) % 4294967296, run)
  return wrk.format(nil, nil, nil, body)
end

done = function(summary, latency)
  local refused = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.stderr:write(string.format('{"per_second": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d}\n', summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, refused))
end
