-- Two fields and one event have names of the glossary. A text inside of a value has its quotes
-- escaped, so it cannot be taken for a key.
UPDATE events SET event = replace(
    event,
    '"type":"guard-looked","look":',
    '"type":"guard-observed","observation":'
)
WHERE event LIKE '{"of":"guard",%';

UPDATE events SET event = replace(event, '"mended":{', '"corrected":{')
WHERE event LIKE '{"of":"run","type":"undo-requested"%';
