-- Each event says to what it happened. The type stood first in all of them.
UPDATE events SET event = CASE
    WHEN event LIKE '{"type":"notify-%' THEN '{"of":"notify",'
    WHEN event LIKE '{"type":"guard-%' THEN '{"of":"guard",'
    WHEN event LIKE '{"type":"run-%'
        OR event LIKE '{"type":"lock%'
        OR event LIKE '{"type":"window-%'
        OR event LIKE '{"type":"steps-%'
        OR event LIKE '{"type":"stopping"%'
        OR event LIKE '{"type":"verify-%'
        OR event LIKE '{"type":"undo-began"%'
        OR event LIKE '{"type":"undo-requested"%'
        OR event LIKE '{"type":"finally-%'
        OR event LIKE '{"type":"paused"%'
        OR event LIKE '{"type":"resumed"%' THEN '{"of":"run",'
    ELSE '{"of":"step",'
END || substr(event, 2)
WHERE event LIKE '{"type":"%';
